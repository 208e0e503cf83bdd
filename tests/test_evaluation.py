"""CocoMetric against pycocotools itself, its explanations, and the functions' contracts."""
import contextlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posebook.evaluation import CocoMetric, MetricResult
from posebook.evaluation.functional import (keypoint_auc, keypoint_epe, keypoint_nme,
                                            keypoint_pck_accuracy, nearby_joints_nms, nms,
                                            object_keypoint_similarity, oks_nms,
                                            pose_pck_accuracy, soft_oks_nms)
from posebook.evaluation.functional.nms import COCO_SIGMAS, oks_iou
from posebook.registry import METRICS
from posebook.structures.pose_data_sample import InstanceData, PoseDataSample

K = 17
META = dict(dataset_name='coco', num_keypoints=K, sigmas=np.array(COCO_SIGMAS),
            flip_indices=[0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])


def make_dataset(seed=0, images=5, people=3, size=(640, 480)):
    """Random people of very different sizes in a COCO dict, some keypoints unlabelled."""
    rng = np.random.default_rng(seed)
    annotations = []
    for n in range(images * people):
        side = rng.uniform([40, 50], [200, 300])
        corner = rng.uniform(0, np.array(size) - side)
        points = np.concatenate([corner + side * rng.random((K, 2)),
                                 rng.choice([0, 1, 2, 2], (K, 1))], axis=1)
        points[points[:, 2] == 0] = 0
        annotations.append(dict(
            id=n + 1, image_id=n // people + 1, category_id=1, bbox=[*corner, *side],
            area=float(side.prod() * 0.6), iscrowd=0, keypoints=points.ravel().tolist(),
            num_keypoints=int((points[:, 2] > 0).sum())))
    return dict(images=[dict(id=i + 1, width=size[0], height=size[1]) for i in range(images)],
                annotations=annotations, categories=[dict(id=1, name='person')])


def samples_of(dataset, change=lambda points, ann: points, score=lambda ann: 1.0):
    """Data samples whose predictions are the (changed) ground truth."""
    samples = []
    for ann in dataset['annotations']:
        truth = np.reshape(ann['keypoints'], (-1, 3))
        sample = PoseDataSample(metainfo=dict(
            id=ann['id'], img_id=ann['image_id'], category_id=1, ori_shape=(480, 640),
            input_size=(192, 256), raw_ann_info=ann))
        sample.gt_instances = InstanceData(
            bbox_scores=np.ones(1, np.float32),
            bbox_scales=np.array([ann['bbox'][2:]], np.float32) * 1.25)
        sample.pred_instances = InstanceData(
            keypoints=change(truth[None, :, :2], ann).astype(np.float32),
            keypoint_scores=np.full((1, len(truth)), score(ann), np.float32))
        samples.append(sample)
    return samples


def run(samples, dataset=None, tmp_path=None, meta=META, **kwargs):
    if dataset is not None:
        kwargs['ann_file'] = tmp_path / 'truth.json'
        kwargs['ann_file'].write_text(json.dumps(dataset))
    metric = CocoMetric(**kwargs)
    metric.dataset_meta = meta
    metric.process([], samples)
    return metric.evaluate(len(samples))


def jitter(pixels, seed=1):
    rng = np.random.default_rng(seed)
    return lambda points, ann: points + rng.normal(0, pixels, points.shape)


def pycocotools_stats(truth_file, result_file):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth_file))
        run = COCOeval(coco, coco.loadRes(str(result_file)), 'keypoints')
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats


# ------------------------------------------------------------------------------ CocoMetric
@pytest.mark.parametrize('from_file', [True, False])
def test_truth_as_prediction_is_perfect(tmp_path, from_file):
    dataset = make_dataset()
    result = run(samples_of(dataset), dataset if from_file else None, tmp_path)
    assert isinstance(result, dict) and list(result) == [
        'coco/AP', 'coco/AP .5', 'coco/AP .75', 'coco/AP (M)', 'coco/AP (L)',
        'coco/AR', 'coco/AR .5', 'coco/AR .75', 'coco/AR (M)', 'coco/AR (L)']
    assert np.allclose(list(result.values()), 1)
    assert result.findings == [] and 'Nothing looks wrong' in result.explain()


def test_ap_falls_with_distance(tmp_path):
    dataset = make_dataset()
    values = [run(samples_of(dataset, jitter(px)), dataset, tmp_path)['coco/AP']
              for px in (0, 5, 15, 60)]
    assert values == sorted(values, reverse=True) and values[0] > values[1] > values[2]
    assert values[0] == 1 and values[-1] < 0.05


@pytest.mark.parametrize('nms_mode', ['none', 'oks_nms', 'soft_oks_nms'])
@pytest.mark.parametrize('with_boxes', [True, False])
def test_equals_pycocotools_on_the_same_files(tmp_path, nms_mode, with_boxes):
    dataset = make_dataset(3, images=8)
    rng = np.random.default_rng(0)
    samples = samples_of(dataset, jitter(4), score=lambda ann: rng.uniform(0.3, 1))
    extra = samples_of(dataset, jitter(8, 5), score=lambda ann: rng.uniform(0.3, 1))
    for sample in extra:
        sample.set_metainfo(dict(id=sample.id + 1000))
    if with_boxes:
        for sample in samples + extra:
            x, y, w, h = sample.raw_ann_info['bbox']
            sample.pred_instances.bboxes = np.array([[x, y, x + w, y + h]])
    result = run(samples + extra, dataset, tmp_path, nms_mode=nms_mode,
                 outfile_prefix=str(tmp_path / 'out'))
    wanted = pycocotools_stats(tmp_path / 'truth.json', tmp_path / 'out.keypoints.json')
    assert 0.2 < wanted[0] < 0.95  # a case in which the numbers say something
    assert np.array_equal(list(result.values()), wanted)


def test_samples_as_dicts_and_tensors_give_the_same(tmp_path):
    torch = pytest.importorskip('torch')
    dataset = make_dataset()
    samples = samples_of(dataset, jitter(10))
    dicts = [dict(id=s.id, img_id=s.img_id, category_id=1,
                  gt_instances=dict(s.gt_instances.items()),
                  pred_instances={k: torch.as_tensor(v) for k, v in s.pred_instances.items()})
             for s in samples]
    assert run(dicts, dataset, tmp_path) == run(samples, dataset, tmp_path)


def test_a_sample_that_comes_twice_counts_once(tmp_path):
    dataset = make_dataset()
    samples = samples_of(dataset, jitter(10))
    once = run(samples, dataset, tmp_path, nms_mode='none')
    assert run(samples + samples[:4], dataset, tmp_path, nms_mode='none') == once


def test_several_people_in_one_sample(tmp_path):
    """Bottom-up models predict all people of an image at once."""
    dataset = make_dataset()
    samples = []
    for image in dataset['images']:
        anns = [a for a in dataset['annotations'] if a['image_id'] == image['id']]
        points = np.array([a['keypoints'] for a in anns]).reshape(len(anns), K, 3)
        samples.append(dict(id=[a['id'] for a in anns], img_id=image['id'], gt_instances={},
                            pred_instances=dict(keypoints=points[..., :2],
                                                keypoint_scores=np.ones((len(anns), K)))))
    result = run(samples, dataset, tmp_path)
    assert result['coco/AP'] == pytest.approx(1)
    assert 'bottom-up' in result.protocol['boxes']


def test_inputs_stay_untouched(tmp_path):
    dataset = make_dataset()
    samples = samples_of(dataset, jitter(3))
    before = json.dumps(dataset), [s.pred_instances.keypoints.copy() for s in samples]
    run(samples, None, tmp_path)
    assert json.dumps(dataset) == before[0]
    assert all(np.array_equal(s.pred_instances.keypoints, b) for s, b in zip(samples, before[1]))


def test_use_area_false_takes_the_box(tmp_path):
    dataset = make_dataset()
    for ann in dataset['annotations']:
        ann['area'] = ann['bbox'][2] * ann['bbox'][3] * 0.53
    samples = samples_of(dataset, jitter(10))
    want = run(samples, dataset, tmp_path)
    for ann in dataset['annotations']:
        del ann['area']
    assert run(samples, dataset, tmp_path, use_area=False) == want
    with pytest.raises(ValueError, match='use_area=False'):
        run(samples, dataset, tmp_path)


def test_scores_by_mode():
    points = np.array([[[0, 0, 0.1], [1, 1, 0.5], [2, 2, 0.9]]])
    pred = dict(id=1, img_id=1, category_id=1, keypoints=points, bbox_scores=[0.5], area=[1])
    for mode, want in dict(bbox=0.5, keypoint=0.5, bbox_keypoint=0.5 * 0.7,
                           bbox_rle=0.5 + 0.5 + 0.9).items():
        assert CocoMetric(score_mode=mode)._score([pred])[0]['score'] == pytest.approx(want)


@pytest.mark.parametrize('kwargs', [
    dict(iou_type='bbox'), dict(score_mode='mean'), dict(nms_mode='nms'), dict(format_only=True),
    dict(collect_device='tpu')])
def test_bad_arguments_raise(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        METRICS.build(dict(type='CocoMetric', **kwargs))


def test_calls_out_of_order_raise(tmp_path):
    dataset = make_dataset()
    with pytest.raises(ValueError, match='nothing was processed'):
        run([], dataset, tmp_path)
    with pytest.raises(ValueError, match='sigmas'):
        run(samples_of(dataset), dataset, tmp_path, meta=None)
    with pytest.raises(ValueError, match='pred_instances'):
        run([PoseDataSample()], dataset, tmp_path)
    for sample in (samples := samples_of(dataset)):
        sample.set_metainfo(dict(img_id=77))
    with pytest.raises(ValueError, match='not in the ground truth'):
        run(samples, dataset, tmp_path)


def test_format_only_writes_the_file(tmp_path):
    dataset = make_dataset()
    result = run(samples_of(dataset), dataset, tmp_path, format_only=True,
                 outfile_prefix=str(tmp_path / 'sub' / 'submit'))
    written = json.loads((tmp_path / 'sub' / 'submit.keypoints.json').read_text())
    assert result == {} and len(written) == len(dataset['annotations'])
    assert set(written[0]) == {'image_id', 'category_id', 'keypoints', 'score'}


def test_protocol_is_printed(tmp_path):
    dataset = make_dataset()
    samples = samples_of(dataset)
    text = repr(run(samples, dataset, tmp_path))
    assert 'ground truth (every box score is 1)' in text and '(192, 256)' in text
    assert 'truth.json' in text and str(tmp_path) not in text
    for sample in samples:
        sample.gt_instances.bbox_scores = np.array([0.8])
    metric = CocoMetric(tmp_path / 'truth.json')
    metric.dataset_meta = META
    metric.protocol['flip_test'] = True
    metric.process([], samples)
    result = metric.evaluate()
    assert result.protocol['boxes'] == 'detected' and result.protocol['flip_test'] == 'True'
    assert metric.results == []


def test_boxes_handed_on_with_the_poses_are_those_that_were_given(tmp_path):
    dataset = make_dataset()
    samples = samples_of(dataset)
    for scores, source in [([1.0], 'ground truth'), ([0.5], 'predicted with the poses')]:
        for sample in samples:
            sample.pred_instances.bbox_scores = np.array(scores)
        assert run(samples, dataset, tmp_path).protocol['boxes'].startswith(source)
    wrong = {k: dict(getattr(samples[0], k).items()) for k in ('gt_instances', 'pred_instances')}
    wrong['pred_instances']['bbox_scores'] = np.ones(2)
    with pytest.raises(ValueError, match=r'bbox_scores must be \(1,\), one for each person; got \(2,\)'):
        CocoMetric(tmp_path / 'truth.json').process([], [dict(samples[0].metainfo, **wrong)])


# --------------------------------------------------------------------------------- explain()
def shrink(dataset, factor):
    for ann in dataset['annotations']:
        ann['area'] *= factor
    return dataset


@pytest.mark.parametrize('spoil, change, word', [
    (lambda d: shrink(d, 1e-3), None, 'AP (M) is -1'),
    (lambda d: shrink(d, 1e-3), None, 'AP (L) is -1'),
    (lambda d: [a.update(num_keypoints=0) for a in d['annotations']], None, 'AP is -1'),
    (lambda d: [a.update(iscrowd=1) for a in d['annotations']], None, 'AP is -1'),
    (lambda d: d['annotations'][0].update(id=0), None, 'id 0'),
    (lambda d: [a.update(category_id=2) for a in d['annotations']], None, 'category_id'),
    (None, lambda p, a: p[..., ::-1], 'x and y were swapped'),
    (None, lambda p, a: p[:, META['flip_indices']], 'left and right were swapped'),
    (None, lambda p, a: p / 640, 'normalised'),
    (None, lambda p, a: p / 640 * 190, 'input space'),
    (None, lambda p, a: p + 500, 'below 0.5'),
    (None, lambda p, a: p * np.nan, 'NaN'),
])
def test_explain_names_the_cause(tmp_path, spoil, change, word):
    dataset = make_dataset()
    samples = samples_of(dataset, change or (lambda p, a: p))
    if spoil:
        spoil(dataset)
        dataset['categories'] = [dict(id=i, name='person') for i in (1, 2)]
    result = run(samples, dataset, tmp_path)
    assert word in '\n'.join(result.findings), result.explain()
    assert 'explain()' in repr(result)


def test_explain_missing_images_equal_scores_and_wrong_sigmas(tmp_path):
    dataset = make_dataset()
    result = run(samples_of(dataset)[:6], dataset, tmp_path)
    assert '3 of 5 images with people have no prediction' in result.explain()
    low = run(samples_of(dataset, jitter(8), score=lambda a: 0.1), dataset, tmp_path)
    assert 'Every score is 0' in low.explain()
    loose = run(samples_of(dataset), dataset, tmp_path, meta={**META, 'sigmas': [2.0] * K})
    assert 'in pixels' in loose.explain()


def test_no_predictions_at_all_is_zero_and_said(tmp_path):
    dataset = make_dataset()
    none = dict(keypoints=np.zeros((0, K, 2)), keypoint_scores=np.zeros((0, K)))
    result = run([dict(id=i, img_id=i, gt_instances={}, pred_instances=none) for i in (1, 2)],
                 dataset, tmp_path)
    assert result['coco/AP'] == 0 and 'no prediction' in result.explain()


def test_people_that_nobody_looks_for_are_counted_by_the_true_reason(tmp_path):
    dataset = make_dataset()
    samples = samples_of(dataset)
    for categories, ids in (([7], None), ([1], [1, 2])):
        data = json.loads(json.dumps(dataset))
        data['categories'] = [dict(id=i, name='it') for i in categories]
        for i, ann in enumerate(data['annotations']):
            ann['category_id'] = ids[i % 2] if ids else 1
        lost = sum(ann['category_id'] not in categories for ann in data['annotations'])
        result = run(samples, data, tmp_path)
        text = str(result.explain())
        assert f'{lost} annotations are in a category that the file does not list' in text
        assert 'has an area' not in text or result['coco/AP'] >= 0
        assert (result['coco/AP'] == -1) == (lost == len(data['annotations']))


ODD = {
    'keypoints': [np.zeros((1, 17)), np.zeros((1, 17, 1)), np.zeros((2, 16, 2)), 'text', None, [[['a']]],
                  np.zeros((1, 17, 2), object), np.zeros((1, 17, 2), complex), 7],
    'keypoint_scores': [np.ones(17), np.ones((1, 16)), 'text', None, np.ones((1, 17), object), np.ones((1, 17, 1))],
    'bboxes': [np.zeros(4), np.zeros((1, 3)), np.zeros((2, 4)), 'text', [['a'] * 4]],
    'bbox_scores': [np.ones((1, 1)), np.ones(2), 'text', 7, ['a'], [None]],
}


@pytest.mark.parametrize('key, value', [(k, v) for k, values in ODD.items() for v in values], ids=str)
def test_an_odd_prediction_is_named(tmp_path, key, value):
    dataset = make_dataset()
    samples = samples_of(dataset)
    (tmp_path / 'truth.json').write_text(json.dumps(dataset))
    odd = dict(samples[0].pred_instances.items()) | {key: value}
    given = dict(samples[0].gt_instances.items())
    with pytest.raises(ValueError, match='CocoMetric: pred_instances.* must be .*; got '):
        CocoMetric(tmp_path / 'truth.json').process(
            [], [dict(samples[0].metainfo, pred_instances=odd, gt_instances=given)])


def test_more_people_than_boxes_are_judged_by_their_extent(tmp_path):
    dataset = make_dataset()
    samples = samples_of(dataset)
    points = samples[0].pred_instances.keypoints
    twice = dict(keypoints=np.concatenate([points, points + 900]), keypoint_scores=np.ones((2, 17)))
    one = dict(bbox_scores=np.ones(1), bbox_scales=np.ones((1, 2)))
    sample = dict(samples[0].metainfo, pred_instances=twice, gt_instances=one)
    assert 0 < run([sample, *samples[1:]], dataset, tmp_path)['coco/AP'] <= 1


def test_result_of_another_metric_gets_a_prefix():
    result = MetricResult({'PCK': 0.5}).prefixed('x')
    assert result == {'x/PCK': 0.5} and 'x/PCK' in repr(result)


@pytest.mark.skipif('POSEBOOK_REAL_COCO' not in os.environ, reason='needs real COCO labels')
def test_real_coco_truth_is_perfect():
    file = Path(os.environ['POSEBOOK_REAL_COCO']) / 'test_coco.json'
    dataset = json.loads(file.read_text())
    samples = samples_of(dataset)
    for sample in samples:
        sample.gt_instances.bbox_scales /= 1.25
    metric = CocoMetric(str(file))
    metric.dataset_meta = META
    metric.process([], [s for s in samples if s.raw_ann_info['num_keypoints']])
    result = metric.evaluate()
    assert result['coco/AP'] == pytest.approx(1) and result['coco/AR'] == pytest.approx(1)


# --------------------------------------------------------------------------------- functions
def test_pck_by_hand():
    gt = np.zeros((2, 3, 2))
    pred = np.array([[[3, 4], [0, 1], [9, 9]], [[6, 8], [0, 9], [9, 9]]], dtype=float)
    mask = np.array([[1, 1, 0], [1, 1, 0]], dtype=bool)
    acc, avg, cnt = keypoint_pck_accuracy(pred, gt, mask, 0.51, np.full((2, 2), 10.0))
    assert acc.tolist() == [0.5, 0.5, -1] and avg == 0.5 and cnt == 2
    assert keypoint_pck_accuracy(pred, gt, mask, 0.5, np.full((2, 2), 10.0))[0][0] == 0  # strict
    assert keypoint_nme(pred, gt, mask, np.full((2, 2), 10.0)) == pytest.approx(2.5 / 4)
    assert keypoint_epe(pred, gt, mask) == pytest.approx((5 + 1 + 10 + 9) / 4)


def test_pck_leaves_zero_lengths_out_and_inputs_alone():
    gt, pred = np.zeros((2, 1, 2)), np.zeros((2, 1, 2))
    norm, mask = np.array([[0.0, 5.0], [5.0, 5.0]]), np.ones((2, 1), dtype=bool)
    pred[0] = 99
    assert keypoint_pck_accuracy(pred, gt, mask, 0.1, norm) == (np.array([1]), 1.0, 1)
    assert norm[0, 0] == 0 and mask.all()
    assert keypoint_pck_accuracy(pred, gt, ~mask, 0.1, norm)[1:] == (0.0, 0)


@given(st.integers(0, 10_000), st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_auc_is_the_mean_of_pck(seed, num_thrs):
    rng = np.random.default_rng(seed)
    pred, gt = rng.random((2, 3, 4, 2)) * 40
    mask = rng.random((3, 4)) < 0.8
    mean = np.mean([keypoint_pck_accuracy(pred, gt, mask, i / num_thrs, np.full((3, 2), 30.))[1]
                    for i in range(num_thrs)])
    assert keypoint_auc(pred, gt, mask, 30, num_thrs) == pytest.approx(mean, abs=1e-6)


def test_pose_pck_on_heatmaps():
    maps = np.zeros((1, 2, 64, 48), np.float32)
    maps[0, 0, 10, 20] = maps[0, 1, 30, 5] = 1
    moved = np.roll(maps, 3, axis=2)  # 3 of 48 is 0.0625, as y is divided by the width
    mask = np.ones((1, 2), dtype=bool)
    assert pose_pck_accuracy(maps, maps, mask)[1] == 1
    assert pose_pck_accuracy(moved, maps, mask, 0.06)[1] == 0
    assert pose_pck_accuracy(moved, maps, mask, 0.06, np.array([[48, 64]]))[1] == 1
    assert pose_pck_accuracy(maps[:, :0], maps[:, :0], mask[:, :0]) == (None, 0, 0)


@pytest.mark.parametrize('call, word', [
    (lambda: keypoint_epe(np.zeros((3, 2)), np.zeros((3, 2)), np.ones(3)), r'\(N, K, D\)'),
    (lambda: keypoint_epe(np.zeros((1, 3, 2)), np.zeros((1, 3, 2)), np.ones((3, 1))), 'mask'),
    (lambda: keypoint_nme(np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.ones((2, 3)),
                          np.ones((3, 2))), 'norm_factor'),
    (lambda: pose_pck_accuracy(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), None), 'output'),
    (lambda: oks_iou(np.zeros(15), np.zeros((2, 15)), 1, np.ones(2)), 'sigmas'),
    (lambda: oks_iou(np.zeros(51), np.zeros((2, 48)), 1, np.ones(2)), 'd must be'),
    (lambda: nearby_joints_nms([], dist_thr=0), 'dist_thr'),
    (lambda: nms(np.zeros((3, 4)), 0.5), 'dets'),
])
def test_wrong_shapes_raise(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def person(shift=0.0, score=1.0, area=10_000.0):
    points = np.concatenate([np.mgrid[:K, :2][:, :, 0].T * 10 + shift, np.ones((K, 1))], axis=1)
    return dict(keypoints=points, score=score, area=area)


def test_oks_at_the_sigma_distance():
    """At d = 2 * sigma * sqrt(area) the similarity is exp(-1/2)."""
    sigmas = np.array(COCO_SIGMAS)
    gt = np.zeros((K, 2))
    pred = np.stack([2 * sigmas * 100, np.zeros(K)], axis=1)
    assert object_keypoint_similarity(pred, gt, 100**2, sigmas) == pytest.approx(np.exp(-0.5))
    none = np.zeros(K, dtype=bool)
    assert object_keypoint_similarity(pred, gt, 100**2, sigmas, none) == 0


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_oks_is_scale_free_and_at_most_one(seed):
    rng = np.random.default_rng(seed)
    pred, gt = rng.random((2, K, 2)) * 50
    scale = rng.uniform(0.1, 10)
    one = object_keypoint_similarity(pred, gt, 900.0, COCO_SIGMAS)
    scaled = object_keypoint_similarity(pred * scale, gt * scale, 900 * scale**2, COCO_SIGMAS)
    assert scaled == pytest.approx(one) and 0 <= one <= 1
    assert object_keypoint_similarity(gt, gt, 900.0, COCO_SIGMAS) == 1


def test_oks_nms_keeps_the_best_of_copies():
    people = [person(0, 0.5), person(0.5, 0.9), person(300, 0.7)]
    assert oks_nms(people, 0.9).tolist() == [1, 2]
    assert soft_oks_nms(people, 0.5).tolist() == [1, 2, 0]  # lowered, not dropped
    assert soft_oks_nms(people, 0.5, max_dets=1).tolist() == [1]
    assert nearby_joints_nms(people, 0.2) == [1, 2]
    assert len(oks_nms([], 0.9)) == len(soft_oks_nms([], 0.9)) == len(nearby_joints_nms([])) == 0
    joints = [{**p, 'score': np.full(K, p['score'])} for p in people]
    assert oks_nms(joints, 0.9, score_per_joint=True).tolist() == [1, 2]


def test_vis_thr_counts_confident_keypoints_only():
    a, b = person(0)['keypoints'], person(0)['keypoints'].copy()
    b[0] = 500, 500, 0.1
    iou = [oks_iou(a.ravel(), b.reshape(1, -1), 1e4, np.array([1e4]), vis_thr=thr)[0]
           for thr in (None, 0.2)]
    assert iou[0] == pytest.approx(16 / 17) and iou[1] == 1


def test_box_nms():
    boxes = np.array([[0, 0, 9, 9, 0.8], [0, 0, 9, 10, 0.9], [50, 50, 60, 60, 0.1]])
    assert nms(boxes, 0.5) == [1, 2] and nms(boxes, 0.95) == [1, 0, 2] and nms([], 0.5) == []
