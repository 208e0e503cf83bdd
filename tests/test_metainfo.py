"""Properties of the metainfo: permutations, and a file reader that neither runs nor hangs."""
import copy
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posebook.structures.metainfo import (COCO, MPII, check_dataset_info, load_dataset_info,
                                        make_dataset_info, parse_pose_metainfo)

GRAY = (128, 128, 128)
BODY = """dataset_info = dict(dataset_name='t', keypoint_info={0: dict(name='a', id=0)},
    skeleton_info={}, joint_weights=[1.], sigmas=[0.1])
"""


@pytest.mark.parametrize('info', [COCO, MPII])
def test_builtin_skeletons_are_consistent(info):
    meta = parse_pose_metainfo(info)
    num, flip = meta['num_keypoints'], meta['flip_indices']
    assert [flip[i] for i in flip] == list(range(num))
    names = [meta['keypoint_id2name'][i] for i in range(num)]
    for i, j in enumerate(flip):
        mirror = {'left': 'right', 'right': 'left'}.get(names[i].split('_')[0])
        assert (i == j) == (mirror is None)
        assert mirror is None or names[j].startswith(mirror)
    assert sorted(meta['upper_body_ids'] + meta['lower_body_ids']) == list(range(num))
    # mirrored limbs are limbs, so a mirrored drawing has the same skeleton
    links = {frozenset(link) for link in meta['skeleton_links']}
    assert {frozenset(flip[i] for i in link) for link in links} == links
    assert np.array_equal(meta['sigmas'], meta['sigmas'][flip])
    assert np.array_equal(meta['dataset_keypoint_weights'], meta['dataset_keypoint_weights'][flip])


def test_types_and_shapes():
    meta = parse_pose_metainfo(COCO)
    assert meta['keypoint_colors'].shape == (17, 3) and meta['keypoint_colors'].dtype == np.uint8
    assert meta['skeleton_link_colors'].shape == (19, 3)
    assert meta['sigmas'].dtype == meta['dataset_keypoint_weights'].dtype == np.float32
    assert meta['dataset_keypoint_weights'].shape == (17,)
    assert isinstance(meta['flip_indices'], list) and isinstance(meta['skeleton_links'], list)


def test_inputs_are_not_written_to():
    before = copy.deepcopy(COCO)
    parse_pose_metainfo(COCO)['keypoint_id2name'][0] = 'changed'
    assert COCO == before


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from('abcdefgh'), min_size=1, unique=True), st.randoms())
def test_any_mix_of_pairs_and_single_points_parses(stems, random):
    rows = []
    for i, stem in enumerate(stems):
        names = [f'left_{stem}', f'right_{stem}'] if i % 2 else [stem]
        rows += [(n, GRAY, '', 1.0, 0.05) for n in names]
    random.shuffle(rows)
    links = [(a[0], b[0], GRAY) for a, b in zip(rows, rows[1:])]
    meta = parse_pose_metainfo(make_dataset_info('t', rows, links))
    flip = meta['flip_indices']
    assert [flip[i] for i in flip] == list(range(len(rows)))
    assert len(meta['flip_pairs']) == 2 * (len(stems) // 2)
    assert meta['num_skeleton_links'] == len(links)


def test_points_without_color_type_or_swap_get_the_defaults():
    meta = parse_pose_metainfo(dict(
        dataset_name='t', keypoint_info={1: dict(name='b'), 0: dict(name='a')},
        skeleton_info={0: dict(link=['a', 'b'])}, joint_weights=[1, 2], sigmas=[]))
    assert meta['keypoint_name2id'] == {'a': 0, 'b': 1}       # by id, not by order in the dict
    assert meta['keypoint_colors'].tolist() == [[255, 128, 0]] * 2
    assert meta['skeleton_link_colors'].tolist() == [[96, 96, 255]]
    assert meta['flip_pairs'] == [] and len(meta['sigmas']) == 0


@pytest.mark.parametrize('change, text', [
    (dict(keypoint_info={}), 'keypoint_info'),
    (dict(keypoint_info={1: dict(name='a')}), 'ids 0..K-1'),
    (dict(keypoint_info={0: dict(id=0)}), 'keypoint_info\\[0\\] must be a dict with a name'),
    (dict(keypoint_info=[dict(name='a')]), 'keypoint_info must be a dict'),
    (dict(skeleton_info={0: dict(link=('a',))}), 'skeleton_info\\[0\\].link'),
    (dict(joint_weights=[-1.0]), 'joint_weights'), (dict(joint_weights=['x']), 'joint_weights'),
    (dict(joint_weights=None), 'joint_weights'), (dict(sigmas=[[0.1]]), 'sigmas'),
    (dict(dataset_name=None), 'dataset_name')])
def test_wrong_fields_are_named(change, text):
    info = dict(dataset_name='t', keypoint_info={0: dict(name='a', id=0)}, skeleton_info={},
                joint_weights=[1.0], sigmas=[0.1])
    check_dataset_info(info)
    with pytest.raises(ValueError, match=text):
        parse_pose_metainfo({**info, **change})


@pytest.mark.parametrize('field', ['dataset_name', 'keypoint_info', 'skeleton_info', 'joint_weights', 'sigmas', 'name',
                                   'id', 'color', 'type', 'swap', 'link'])
@pytest.mark.parametrize('value', [None, 'x', -1, float('nan'), [], {}, [[1], 2], object(), 'y' * 10**6, {0: 1}, [10**400],
                                   '<img src=x onerror=alert(1)>', [None, None], ('a', ['a'])])
def test_any_value_of_any_field_is_taken_or_answered_in_one_sentence(field, value):
    point, limb = dict(name='a', id=0, color=[1, 2, 3], type='upper', swap=''), dict(link=('a', 'b'), id=0)
    (limb if field == 'link' else point).update({field: value} if field in ('name', 'id', 'color', 'type', 'swap', 'link')
                                                else {})
    info = dict(dataset_name='t', keypoint_info={0: point, 1: dict(name='b')}, skeleton_info={0: limb},
                joint_weights=[1., 1.], sigmas=[.1, .1])
    if field in info:
        info[field] = value
    try:
        meta = parse_pose_metainfo(info)
    except ValueError as e:
        assert ' must be ' in str(e) and '; got ' in str(e) and len(str(e)) < 1500
    else:
        assert meta['num_keypoints'] == 2


def test_structures_import_numpy_and_opencv_at_most():
    code = ('import sys, posebook.structures as s; assert s.COCO and s.parse_pose_metainfo(s.COCO)\n'
            "heavy = {'torch', 'torchvision', 'matplotlib', 'PIL', 'IPython', 'ipywidgets', 'pycocotools', 'scipy', "
            "'posebook.config', 'posebook.codecs', 'posebook.datasets'} & set(sys.modules); assert not heavy, heavy")
    subprocess.run([sys.executable, '-c', code], check=True)


def test_the_old_path_is_found_with_a_warning():
    sys.modules.pop('posebook.datasets.metainfo', None)
    with pytest.warns(DeprecationWarning, match='posebook.datasets.metainfo has moved to posebook.structures.metainfo'):
        from posebook.datasets.metainfo import parse_pose_metainfo as old
    from posebook.datasets import COCO as same
    assert old is parse_pose_metainfo and same is COCO


def test_not_a_dict():
    with pytest.raises(TypeError, match='from_file'):
        parse_pose_metainfo('configs/_base_/datasets/coco.py')


def test_a_file_that_exists_wins_over_the_builtin_name(tmp_path):
    path = tmp_path / 'coco.py'
    path.write_text(BODY)
    assert parse_pose_metainfo(dict(from_file=path))['dataset_name'] == 't'
    builtin = parse_pose_metainfo(dict(from_file=str(tmp_path / 'x' / 'coco.py')))
    assert builtin['num_keypoints'] == 17


@pytest.mark.parametrize('line', [
    "__import__('os').system('touch pwned')", "x = __import__('os')", 'x = (lambda: 1)()',
    "x = ''.__class__", 'def f(): pass', 'x = {[]: 1}', 'x = 1 / 0', "x = 'a' + 1", "x = -'a'",
    'x = __builtins__', 'import os', "x = open('pwned', 'w')"])
def test_only_data_is_read(tmp_path, line, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'meta.py'
    path.write_text(f'{line}\n{BODY}')
    with pytest.raises(ValueError, match='meta.py'):
        load_dataset_info(path)
    assert os.listdir(tmp_path) == ['meta.py']


def test_bombs_are_refused(tmp_path):
    path = tmp_path / 'meta.py'
    bombs = ['x = [0] * 999999999', "x = 'a' * 999999999", 'x = ' + '(' * 5000 + ')' * 5000,
             'x = ' + '-' * 100_000 + '1', 'x = ' + '+'.join(['1'] * 50_000),
             'x = ' + '9' * 900_000,
             'a = [0] * 90000\n' + ''.join(f'b{i} = a + a\n' for i in range(200)),
             'x = 1000000000000000000' + ' * 1000000000000000000' * 40, '\0', '#' * 2_000_000]
    for bomb in bombs:
        path.write_text(bomb + '\n' + BODY)
        with pytest.raises(ValueError, match='meta.py'):
            load_dataset_info(path)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_no_text_is_an_accident(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / 'any.py'
    path.write_bytes(text.encode('utf-8', 'surrogatepass'))
    with pytest.raises(ValueError, match='any.py'):
        load_dataset_info(path)
