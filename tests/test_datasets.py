"""CocoDataset on good files, on damaged files, in data loader workers, and against pycocotools."""
import copy
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posebook.datasets import BaseCocoStyleDataset, CocoDataset
from posebook.datasets.base import BaseDataset, pack_data_list, unpack_data_info
from posebook.structures.metainfo import COCO, make_dataset_info
from posebook.registry import DATASETS

NAN, INF = float('nan'), float('inf')
POINTS = [v for k in range(17) for v in (5.0 + k, 6.0 + k, k % 3)]
ANN = dict(id=1, image_id=7, category_id=1, iscrowd=0, bbox=[4, 5, 20, 30], area=222.5,
           keypoints=POINTS, num_keypoints=11)


def content(anns=None, images=None):
    return dict(images=images or [dict(id=7, width=64, height=48, file_name='7.png'),
                                  dict(id=3, width=64, height=48, file_name='3.png')],
                annotations=[ANN] if anns is None else anns,
                categories=[dict(id=1, name='person',
                                 keypoints=[p['name'] for p in COCO['keypoint_info'].values()])])


@pytest.fixture
def make(tmp_path):
    """make(anns, **arguments of CocoDataset) writes the file and loads it."""
    for name in ('7.png', '3.png'):
        cv2.imwrite(str(tmp_path / name), np.full((48, 64, 3), 9, np.uint8))

    def build(anns=None, images=None, raw=None, cls=CocoDataset, **kwargs):
        text = raw if raw is not None else json.dumps(content(anns, images))
        (tmp_path / 'people.json').write_text(text)
        if 'detections' in kwargs:
            (tmp_path / 'det.json').write_text(json.dumps(kwargs.pop('detections')))
            kwargs.update(bbox_file=tmp_path / 'det.json', test_mode=True)
        return cls('people.json', data_root=str(tmp_path), **kwargs)
    return build


def silent(call, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return call(*args, **kwargs)


# ---- what a sample holds -------------------------------------------------------------------------

def test_a_sample(make, tmp_path):
    info = silent(make)[0]
    assert list(info) == ['img_id', 'img_path', 'bbox', 'bbox_score', 'num_keypoints', 'keypoints',
                          'keypoints_visible', 'area', 'iscrowd', 'segmentation', 'id',
                          'category_id', 'raw_ann_info', 'sample_idx', 'dataset_name',
                          'upper_body_ids', 'lower_body_ids', 'flip_pairs',
                          'dataset_keypoint_weights', 'flip_indices', 'skeleton_links']
    assert info['img_id'] == 7 and info['id'] == 1 and info['sample_idx'] == 0
    assert info['img_path'] == str(tmp_path / '7.png')
    assert info['bbox'].tolist() == [[4, 5, 24, 35]] and info['bbox'].dtype == np.float32
    assert info['bbox_score'].tolist() == [1.0]
    assert info['keypoints'].shape == (1, 17, 2) and info['keypoints'].dtype == np.float32
    assert info['keypoints'][0, 4].tolist() == [9, 10]
    assert info['keypoints_visible'][0, :4].tolist() == [0, 1, 1, 0]
    assert info['area'] == 222.5 and info['num_keypoints'] == 11 and info['iscrowd'] == 0
    assert info['segmentation'] is None and info['raw_ann_info'] == ANN


@pytest.mark.parametrize('box, xyxy', [
    ([-5, -6, 20, 30], [0, 0, 15, 24]), ([50, 40, 100, 100], [50, 40, 63, 47]),
    ([0, 0, 64, 48], [0, 0, 63, 47]), ([1.5, 2.25, 3.5, 4.5], [1.5, 2.25, 5, 6.75])])
def test_boxes_are_clipped_to_pixel_centres(make, box, xyxy):
    assert make([{**ANN, 'bbox': box}])[0]['bbox'].tolist() == [xyxy]


def test_what_the_file_leaves_out_is_computed(make):
    ann = {k: v for k, v in ANN.items() if k not in ('area', 'num_keypoints', 'iscrowd')}
    info = make([ann])[0]
    assert info['area'] == pytest.approx(0.53 * 20 * 30)
    assert info['num_keypoints'] == 17 and info['iscrowd'] == 0   # counts positions that are not 0


def test_ordinary_instances_are_left_out_without_a_warning(make):
    anns = [ANN, {**ANN, 'id': 2, 'iscrowd': 1}, {**ANN, 'id': 3, 'num_keypoints': 0},
            {**ANN, 'id': 4, 'keypoints': [0] * 51, 'num_keypoints': 5},
            {k: v for k, v in {**ANN, 'id': 5}.items() if k != 'keypoints'}]
    dataset = silent(make, anns)
    assert [dataset[i]['id'] for i in range(len(dataset))] == [1]
    assert sum(map(len, dataset.report.ordinary.values())) == 4 and not dataset.report.broken
    assert 'crowd region: 1 (id 2)' in repr(dataset.report)


def test_order_is_that_of_the_images_then_of_the_annotations(make):
    anns = [{**ANN, 'id': i, 'image_id': image} for i, image in ((5, 3), (2, 7), (9, 3), (1, 7))]
    dataset = make(anns)
    assert [d['id'] for d in dataset] == [2, 1, 5, 9]


def test_bottomup(make):
    anns = [ANN, {**ANN, 'id': 2, 'num_keypoints': 0, 'keypoints': [0] * 51,
                  'segmentation': [[1, 2, 3, 4, 5, 6]]}]
    group = silent(make, anns, data_mode='bottomup')
    assert len(group) == 1                                             # image 3 has nobody
    info = group[0]
    assert info['bbox'].shape == (2, 4) and info['keypoints'].shape == (2, 17, 2)
    assert info['keypoints_visible'].shape == (2, 17) and info['area'].shape == (2,)
    assert info['id'] == [1, 2] and info['num_keypoints'] == [11, 0]
    assert info['category_id'].tolist() == [1, 1]
    assert info['invalid_segs'] == [[[1, 2, 3, 4, 5, 6]]]
    tested = make(anns, data_mode='bottomup', test_mode=True)
    assert len(tested) == 2 and tested[1]['img_id'] == 3 and tested[1]['id'] == []
    assert tested[1]['raw_ann_info'] is None


def test_another_skeleton(make):
    info = make_dataset_info('stick', [(n, (9, 9, 9), '', 1.0, 0.1) for n in 'ab'], [])
    dataset = make([{**ANN, 'keypoints': [1, 2, 2, 3, 4, 1]}], metainfo=info)
    assert dataset[0]['keypoints'].shape == (1, 2, 2) and dataset[0]['dataset_name'] == 'stick'
    with pytest.raises(ValueError, match='none of its 1 annotations.*2 triples.*id 1.*give its metainfo'):
        make(metainfo=info)


def test_keypoints_in_another_order_are_refused(make):
    mixed = content()
    names = mixed['categories'][0]['keypoints']
    names[1], names[2] = names[2], names[1]
    with pytest.raises(ValueError, match="keypoint 1 is 'right_eye' in the file and 'left_eye'"):
        make(raw=json.dumps(mixed))


# ---- detections ----------------------------------------------------------------------------------

DET = dict(image_id=7, category_id=1, bbox=[1, 2, 10, 20.5], score=0.75)


def test_detections(make):
    dataset = silent(make, detections=[DET, {**DET, 'category_id': 2}, {**DET, 'score': 0.25}])
    assert len(dataset) == 2 and [d['id'] for d in dataset] == [0, 1]
    info = dataset[0]
    assert info['bbox'].tolist() == [[1, 2, 11, 22.5]] and info['bbox_score'].tolist() == [0.75]
    assert info['bbox'].dtype == info['bbox_score'].dtype == np.float32
    assert info['img_shape'] == (48, 64) and info['img_id'] == 7
    assert not info['keypoints'].any() and info['keypoints'].shape == (1, 17, 2)
    assert info['keypoints_visible'].tolist() == [[1.0] * 17]
    kept = make(detections=[DET, {**DET, 'score': 0.25}], filter_cfg=dict(bbox_score_thr=0.3))
    assert len(kept) == 1


def test_broken_detections(make):
    bad = [{**DET, 'image_id': 99}, {**DET, 'bbox': [1, 2, NAN, 4]}, {**DET, 'score': 'high'},
           {**DET, 'bbox': [1, 2, 0, 4]}, {k: v for k, v in DET.items() if k != 'score'}]
    with pytest.warns(UserWarning) as caught:
        dataset = make(detections=[DET, *bad])
    assert len(dataset) == 1 and len(caught) == 1
    said = str(caught[0].message)
    assert 'det.json: 5 broken' in said and 'no score: 1 (at position 5)' in said
    with pytest.raises(ValueError, match='det.json: none of its 1.*image_id is not in ann_file'):
        make(detections=[bad[0]])
    for wrong in (dict(a=1), [1, 2], 'x'):
        with pytest.raises(ValueError, match='bbox_file must be a list of dicts.*det.json'):
            make(detections=wrong)


def test_bbox_file_only_for_topdown_tests(make, tmp_path):
    for kwargs in (dict(), dict(test_mode=True, data_mode='bottomup')):
        with pytest.raises(ValueError, match='bbox_file needs'):
            make(bbox_file='x.json', **kwargs)
    with pytest.raises(FileNotFoundError, match='bbox_file must be a file; got .*gone.json'):
        make(bbox_file=str(tmp_path / 'gone.json'), test_mode=True)


# ---- damaged files -------------------------------------------------------------------------------

@pytest.mark.parametrize('change, reason', [
    (dict(bbox=[1, 2, NAN, 4]), 'bbox'), (dict(bbox=[1, 2, INF, 4]), 'bbox'),
    (dict(bbox=None), 'bbox'), (dict(bbox=[1, 2, 3]), 'bbox'), (dict(bbox=['1', 2, 3, 4]), 'bbox'),
    (dict(bbox=[10 ** 400, 2, 3, 4]), 'bbox'), (dict(bbox=[1, 2, 0, 4]), 'no area'),
    (dict(bbox=[1, 2, -3, 4]), 'no area'), (dict(bbox=[99, 2, 9, 4]), 'no area'),
    (dict(keypoints=POINTS[:-3]), '17 triples'), (dict(keypoints=POINTS[:-1]), '17 triples'),
    (dict(keypoints=[]), '17 triples'), (dict(keypoints=POINTS[:3] + [NAN] + POINTS[4:]), 'keypoints are not'),
    (dict(keypoints='x' * 51), '17 triples'), (dict(keypoints=POINTS[:-1] + [7]), 'visibility'),
    (dict(keypoints=POINTS[:-1] + [-1]), 'visibility'), (dict(area=NAN), 'area'),
    (dict(area='big'), 'area'), (dict(category_id=None), 'category_id'),
    (dict(image_id=10 ** 40), 'image_id is not in images'), (dict(image_id=[7]), 'image_id'),
    (dict(id=1), 'id used twice'), (dict(id=None), 'no id')])
def test_one_broken_annotation_is_left_out_and_named(make, change, reason):
    with pytest.warns(UserWarning) as caught:
        dataset = make([ANN, {**ANN, 'id': 10 ** 20, **change}, {**ANN, 'id': 4}])
    assert [d['id'] for d in dataset] == [1, 4] and len(caught) == 1
    said = str(caught[0].message)
    assert 'people.json: 1 broken record' in said and reason in said, said
    where = {1: '(id 1)', None: '(at position 1)', 10 ** 20: f'(id {10 ** 20})'}
    name = where[change.get('id', 10 ** 20)]
    assert name in said, said


def test_nothing_but_broken_annotations_is_an_error(make):
    with pytest.raises(ValueError, match=r'people.json: none of its 7 .*\(id 0, 1, 2, 3, 4, \.'):
        make([{**ANN, 'id': i, 'bbox': [NAN] * 4} for i in range(7)])


@pytest.mark.parametrize('image', [
    dict(id=7, width=64, height=48), dict(id=7, file_name='7.png'), 'x', None,
    dict(id=7, width=0, height=48, file_name='7.png'), dict(id=[7], file_name='7.png'),
    dict(id=7, width=NAN, height=48, file_name='7.png')])
def test_broken_images(make, image):
    other = dict(id=3, width=64, height=48, file_name='3.png')
    with pytest.warns(UserWarning, match='people.json.*image'):
        dataset = make([ANN, {**ANN, 'id': 2, 'image_id': 3}], images=[image, other])
    assert [d['id'] for d in dataset] == [2]


@pytest.mark.parametrize('raw', ['', '<html>', '[', '{"images": []}', '[]', 'null', '3', '"x"',
                                 '{"images": {}, "annotations": []}', '[' * 100_000, '\ufeff{}',
                                 '{"images": [], "annotations": [], "categories": 3}'])
def test_not_a_coco_file(make, raw):
    with pytest.raises(ValueError, match='people.json'):
        make(raw=raw)


def test_binary_file(make, tmp_path):
    make()
    (tmp_path / 'people.json').write_bytes(b'\x89PNG\xff\xfe')
    with pytest.raises(ValueError, match='must be a JSON file; got .*people.json'):
        CocoDataset('people.json', data_root=str(tmp_path))


def test_no_annotations(make):
    with pytest.warns(UserWarning, match='people.json: no sample from 0 annotations'):
        assert len(make([])) == 0
    with pytest.warns(UserWarning, match='no sample from 1 .*crowd region: 1'):
        assert len(make([{**ANN, 'iscrowd': 1}])) == 0


def test_missing_file_and_missing_images(make, tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.json'):
        CocoDataset('gone.json', data_root=str(tmp_path))
    load = [lambda results: cv2.imread(results['img_path']).shape and results]
    make()
    os.remove(tmp_path / '7.png')
    with pytest.warns(UserWarning, match=r"1 of 1 image files.*7.png' \(id 1\).*data_prefix"):
        dataset = make(pipeline=load)
    with pytest.raises(FileNotFoundError, match=r'people.json, id 1, image .*7.png'):
        dataset[0]


@settings(max_examples=80, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(
    st.sampled_from(sorted(ANN)), st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda s: st.lists(s, max_size=4) | st.dictionaries(st.text(max_size=2), s, max_size=2),
        max_leaves=5)))
def test_no_value_of_any_field_is_an_accident(make, change):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            dataset = make([{**ANN, 'id': 77}, {**ANN, **change}])
        except ValueError as e:
            assert 'people.json' in str(e)
            return
    assert 77 in [d['id'] for d in dataset]
    for info in dataset:
        assert np.isfinite(info['bbox']).all() and np.isfinite(info['keypoints']).all()


@pytest.mark.parametrize('x, y', [(NAN, NAN), (None, None), (INF, 3), (-INF, NAN), (1e300, 0), (10 ** 400, 0)],
                         ids=lambda v: str(v)[:9])
def test_a_point_without_a_label_has_no_position(make, x, y):
    points = [x, y, 0] + POINTS[3:]
    info = silent(make, [{**ANN, 'keypoints': points}])[0]
    assert info['keypoints'][0, 0].tolist() == [0, 3 if y == 3 else 0]
    assert info['keypoints_visible'][0, 0] == 0 and np.isfinite(info['keypoints']).all()
    with pytest.raises(ValueError, match='a visibility is not 0, 1 or 2'):
        make([{**ANN, 'keypoints': [1, 2, NAN] + POINTS[3:]}])
    with pytest.raises(ValueError, match='keypoints are not finite numbers'):
        make([{**ANN, 'keypoints': ['x', y, 0] + POINTS[3:]}])


# ---- text from files is hostile ------------------------------------------------------------------

@pytest.mark.parametrize('name', ['../secret.png', '../../secret.png', 'a/../../secret.png', '/secret.png'])
def test_a_name_does_not_lead_out_of_the_folder(make, tmp_path, name):
    inner = tmp_path / 'pictures'
    inner.mkdir()
    name = str(tmp_path / 'secret.png') if name.startswith('/') else name
    for folder in (tmp_path, tmp_path.parent):
        cv2.imwrite(str(folder / 'secret.png'), np.zeros((48, 64, 3), np.uint8))
    images = [dict(id=7, width=64, height=48, file_name=name), dict(id=3, width=64, height=48, file_name='3.png')]
    cv2.imwrite(str(inner / '3.png'), np.zeros((48, 64, 3), np.uint8))
    anns = [ANN, {**ANN, 'id': 2, 'image_id': 3}]
    for kwargs in (dict(), dict(data_mode='bottomup'), dict(detections=[DET, {**DET, 'image_id': 3}])):
        with pytest.warns(UserWarning, match=r'file_name leads out of the folder .*pictures.*allow_outside=True.*1 \('):
            dataset = make(anns, images, data_prefix=dict(img='pictures'), **kwargs)
        assert [info['img_id'] for info in dataset] == [3]
    with pytest.raises(ValueError, match='leads out of the folder'):
        make([ANN], images, data_prefix=dict(img='pictures'))
    (tmp_path / 'a').mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        both = make(anns, images, data_prefix=dict(img='pictures'), allow_outside=True)
    assert len(both) == 2 and both[0]['img_path'] == os.path.join(str(inner), name)


def test_names_inside_the_folder_are_read_as_they_are(make, tmp_path):
    (tmp_path / 'sub').mkdir()
    os.symlink(tmp_path / '7.png', tmp_path / 'sub' / 'link.png')     # a link is the user's own
    for name in ('sub/link.png', 'sub/../7.png', str(tmp_path / '7.png'), './7.png', 'a..b.png'):
        images = [dict(id=7, width=64, height=48, file_name=name)]
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', '.*missing')
            assert make([ANN], images)[0]['img_path'] == os.path.join(str(tmp_path), name)


def test_ids_cannot_write_to_the_terminal(make):
    evil = '\x1b[2J\x1b]0;owned\x07' + 'x' * 500
    with pytest.warns(UserWarning) as caught:
        dataset = make([ANN, {**ANN, 'id': evil, 'bbox': None}])
    for text in (str(caught[0].message), repr(dataset.report)):
        assert text.isprintable() or set(text) - {'\n'} and text.replace('\n', '').isprintable()
        assert len(text) < 1000 and "x1b[2J" in text


def test_a_file_larger_than_the_limit_is_refused_before_it_is_read(make, monkeypatch):
    make()
    monkeypatch.setenv('POSEBOOK_MAX_JSON', '50')
    with pytest.raises(ValueError, match='CocoDataset: ann_file must be a file of at most 50 bytes; got .*people.json'):
        make()
    monkeypatch.setenv('POSEBOOK_MAX_JSON', '50 kB')
    with pytest.raises(ValueError, match='POSEBOOK_MAX_JSON must be a whole number'):
        make()


def test_many_records_cost_what_they_cost(make):
    """A hundred thousand ids: no step looks at all of them for each."""
    anns = [dict(id=i, image_id=9, category_id=1, bbox=[1, 2, 3, 4]) for i in range(100_000)]
    with pytest.raises(ValueError, match=r'none of its 100000 .*image_id is not in images: 100000 \(id 0, 1'):
        make(anns)


@pytest.mark.parametrize('kwargs', [
    dict(data_mode='topDown'), dict(sample_interval='2'), dict(sample_interval=True), dict(max_refetch=-1),
    dict(max_refetch=None), dict(data_prefix='images'), dict(data_prefix=None), dict(filter_cfg=3),
    dict(indices=1.5), dict(indices=['a']), dict(pipeline=5), dict(pipeline=[5]), dict(metainfo=5),
    dict(metainfo=dict(from_file='nothing.py'))])
def test_wrong_arguments_are_answered_in_one_sentence(make, kwargs):
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match='must be .*; got '):
        make(**kwargs)


# ---- behaviour as a dataset ----------------------------------------------------------------------

def people(num):
    return [{**ANN, 'id': i} for i in range(num)]


@pytest.mark.parametrize('serialize', [True, False])
def test_indices_and_subsets(make, serialize):
    def ids(dataset):
        return [d['id'] for d in dataset]
    assert ids(make(people(6), indices=2, serialize_data=serialize)) == [0, 1]
    assert ids(make(people(6), indices=-2, serialize_data=serialize)) == [4, 5]
    assert ids(make(people(6), indices=[5, 0, -2], serialize_data=serialize)) == [5, 0, 4]
    dataset = make(people(6), serialize_data=serialize)
    part = dataset.get_subset(np.array([3, 1]))
    assert ids(part) == [3, 1] and ids(dataset) == list(range(6)) and ids(part.get_subset(1)) == [3]
    assert ids(dataset.get_subset([])) == [] and ids(dataset.get_subset(99)) == list(range(6))
    dataset.get_subset_([2])
    assert ids(dataset) == [2]
    for wrong in ('12', 1.5, True, None):
        with pytest.raises(TypeError, match='indices'):
            dataset.get_subset(wrong)
    with pytest.raises(IndexError, match='9, which is out of range'):
        dataset.get_subset([9])
    with pytest.raises(IndexError, match='index 1 is out of range'):
        dataset[1]
    assert dataset[-1]['id'] == 2 and dataset[-1]['sample_idx'] == 0


@pytest.mark.parametrize('serialize', [True, False])
def test_samples_are_copies(make, serialize):
    dataset = make(serialize_data=serialize)
    info = dataset.get_data_info(0)
    info['keypoints'] += 1
    info['raw_ann_info']['bbox'][0] = 99
    info['flip_indices'].append(1)
    info['dataset_keypoint_weights'] *= 0
    again = dataset.get_data_info(0)
    assert again['keypoints'][0, 0].tolist() == [5, 6] and again['raw_ann_info'] == ANN
    assert len(again['flip_indices']) == 17 and again['dataset_keypoint_weights'].min() == 1
    dataset.metainfo['sigmas'][:] = 0
    assert dataset.metainfo['sigmas'].min() > 0


def test_lazy(make, tmp_path):
    dataset = make(lazy_init=True)
    os.rename(tmp_path / 'people.json', tmp_path / 'later')
    assert dataset.metainfo['num_keypoints'] == 17 and 'not loaded' in repr(dataset)
    with pytest.raises(FileNotFoundError):
        len(dataset)
    os.rename(tmp_path / 'later', tmp_path / 'people.json')
    assert len(dataset) == 1 and dataset[0]['id'] == 1


def test_sample_interval(make):
    anns = [{**ANN, 'id': 1}, {**ANN, 'id': 2, 'image_id': 3}]
    assert [d['img_id'] for d in make(anns, sample_interval=7)] == [7]
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match='sample_interval'):
            make(sample_interval=wrong)


def test_pipeline_and_refetch(make):
    def odd_only(results):
        return results if results['id'] % 2 else None
    dataset = make(people(5), pipeline=[odd_only])
    assert [dataset[i]['id'] for i in range(5)] == [1, 1, 3, 3, 1]
    assert make(people(5), pipeline=odd_only, max_refetch=3)[0]['id'] == 1
    with pytest.raises(RuntimeError, match='returned None for sample 0'):
        make(people(5), pipeline=[odd_only], test_mode=True)[0]
    with pytest.raises(RuntimeError, match='and the next 4'):
        make(people(5), pipeline=[lambda results: None])[0]
    with pytest.raises(KeyError):
        make(pipeline=[dict(type='NoSuchTransform')])


def test_pipeline_errors_name_the_sample(make):
    def fail(results):
        raise ZeroDivisionError('oops')
    with pytest.raises(ZeroDivisionError, match='oops') as e:
        make(pipeline=[fail])[0]
    if sys.version_info >= (3, 11):
        assert any('people.json, id 1' in note for note in e.value.__notes__)


def test_registry_and_metainfo(make, tmp_path):
    make()
    built = DATASETS.build(dict(type='mmpose.CocoDataset', ann_file='people.json',
                                data_root=str(tmp_path), data_prefix=dict(img='')))
    assert isinstance(built, CocoDataset) and len(built) == 1
    assert built.metainfo['CLASSES'][0]['name'] == 'person'
    with pytest.raises(ValueError, match='metainfo='):
        make(cls=BaseCocoStyleDataset)
    assert len(make(cls=BaseCocoStyleDataset, metainfo=copy.deepcopy(COCO))) == 1
    with pytest.raises(ValueError, match='data_mode'):
        make(data_mode='top-down')
    with pytest.raises(TypeError, match='load_data_list'):
        BaseDataset(metainfo=COCO)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9),
                                max_size=4), max_size=8))
def test_packing_round_trip(data):
    data_bytes, ends = pack_data_list(data)
    assert data_bytes.dtype == np.uint8 and len(ends) == len(data)
    assert [unpack_data_info(data_bytes, ends, i) for i in range(len(data))] == data


def test_packed_memory_is_two_arrays(make):
    dataset = make(people(50))
    assert not dataset.data_list and len(dataset.data_address) == 50
    assert len(dataset.data_bytes) == dataset.data_address[-1] < 50 * 3000
    again = pickle.loads(pickle.dumps(dataset))                        # as a spawned worker gets it
    assert len(again) == 50 and again[3]['id'] == 3


def test_data_loader_workers(make):
    torch = pytest.importorskip('torch')
    dataset = make(people(9))
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=list)
    assert [info['id'] for batch in loader for info in batch] == list(range(9))


def test_import_is_light():
    code = ("import sys, posebook.datasets.body as c; assert c.CocoDataset; "
            "assert 'matplotlib' not in sys.modules and 'IPython' not in sys.modules, 'heavy'")
    subprocess.run([sys.executable, '-c', code], check=True)


# ---- real data: POSEBOOK_REAL_COCO is a folder with test_coco.json and its images ----------------

REAL = os.environ.get('POSEBOOK_REAL_COCO', '')
real = pytest.mark.skipif(not REAL, reason='POSEBOOK_REAL_COCO names no folder')


@real
def test_real_annotations_equal_those_of_pycocotools():
    from pycocotools.coco import COCO as Reader
    reader = Reader(os.path.join(REAL, 'test_coco.json'))
    dataset = silent(CocoDataset, 'test_coco.json', data_root=REAL)
    wanted = [a for a in reader.loadAnns(reader.getAnnIds(iscrowd=False)) if a['num_keypoints']]
    assert sorted(d['id'] for d in dataset) == sorted(a['id'] for a in wanted)
    for info in dataset:
        ann, image = reader.anns[info['id']], reader.imgs[info['img_id']]
        points = np.float32(ann['keypoints']).reshape(17, 3)
        assert np.array_equal(info['keypoints'][0], points[:, :2])
        assert np.array_equal(info['keypoints_visible'][0], points[:, 2] > 0)
        x, y, w, h = ann['bbox']
        limit = [image['width'] - 1, image['height'] - 1] * 2
        assert np.allclose(info['bbox'][0], np.clip([x, y, x + w, y + h], 0, limit))
        assert cv2.imread(info['img_path']).shape[:2] == (image['height'], image['width'])
    groups = silent(CocoDataset, 'test_coco.json', data_root=REAL, data_mode='bottomup')
    assert sum(len(g['id']) for g in groups) == len(reader.anns)


@real
def test_real_detections():
    path = Path(REAL, 'test_coco_det_AP_H_56.json')
    detections = [d for d in json.loads(path.read_text()) if d['category_id'] == 1]
    dataset = silent(CocoDataset, 'test_coco.json', data_root=REAL, test_mode=True, bbox_file=path)
    assert len(dataset) == len(detections)
    for info, det in zip(dataset, detections):
        x, y, w, h = det['bbox'][:4]
        assert np.allclose(info['bbox'][0], (x, y, x + w, y + h), atol=1e-3)
        assert info['bbox_score'][0] == np.float32(det['score'])
