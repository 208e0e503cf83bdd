"""The visualizer on the pictures and points that break drawing code."""
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posebook.structures.metainfo import COCO, parse_pose_metainfo
from posebook.registry import VISUALIZERS
from posebook.structures.pose_data_sample import InstanceData, PixelData, PoseDataSample
from posebook.visualization import (PoseLocalVisualizer, draw_boxes, draw_heatmaps,
                                    draw_keypoints)

META = parse_pose_metainfo(COCO)
RED_AND_NO_LINKS = dict(keypoint_colors='red')


def picture(h=60, w=90):
    return np.full((h, w, 3), 200, np.uint8)


def sample(points=None, score=1.0, shape=(60, 90)):
    points = np.random.default_rng(0).random((2, 17, 2)) * 50 if points is None else points
    result = PoseDataSample()
    result.gt_instances = InstanceData(keypoints=points, keypoints_visible=np.ones(points.shape[:2]),
                                       bboxes=np.tile([5., 5, 40, 50], (len(points), 1)))
    result.pred_instances = InstanceData(keypoints=points,
                                         keypoint_scores=np.full(points.shape[:2], score))
    result.pred_fields = PixelData(heatmaps=np.full((17, *shape), 0.5, np.float32))
    return result


def test_a_keypoint_is_where_it_says():
    drawn = draw_keypoints(picture(), [[[30, 20]]], None, RED_AND_NO_LINKS, radius=3)
    assert drawn[20, 30].tolist() == [255, 0, 0]
    changed = np.argwhere((drawn != 200).any(-1))
    assert np.allclose(changed.mean(0), [20, 30], atol=0.01) and abs(changed - [20, 30]).max() <= 4
    half = draw_keypoints(picture(), [[[30.5, 20]]], None, RED_AND_NO_LINKS, radius=3)
    paint = 200 - half[..., 1].astype(float)  # how much of each pixel the disc covers
    assert (paint.sum(0) @ np.arange(90)) / paint.sum() == pytest.approx(30.5, abs=0.05)


def test_links_need_both_ends_and_have_their_colour():
    meta = dict(skeleton_links=[(0, 1)], skeleton_link_colors=[(0, 0, 255)], keypoint_colors='red')
    points = np.array([[[10, 30], [80, 30]]])
    drawn = draw_keypoints(picture(), points, None, meta, line_width=3)
    assert drawn[30, 45].tolist() == [0, 0, 255]
    hidden = draw_keypoints(picture(), points, np.array([[1, 0.2]]), meta)
    assert (hidden[30, 45] == 200).all() and (hidden[30, 80] == 200).all()
    assert hidden[30, 10].tolist() == [255, 0, 0]


@given(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, -1e30, 1e30, -50, 0, 45.3, 1e4]),
                min_size=34, max_size=34))
@settings(max_examples=40, deadline=None)
def test_wild_points_do_not_crash(numbers):
    image = picture()
    drawn = draw_keypoints(image, np.reshape(numbers, (1, 17, 2)), None, META)
    assert drawn.shape == image.shape and (image == 200).all()
    draw_boxes(image, np.reshape(numbers[:32], (8, 4)))


def test_heatmap_lies_where_the_codec_puts_it():
    heatmap = np.zeros((2, 15, 20), np.float32)
    heatmap[1, 6, 5] = 1
    heatmap[0, 0, 0] = np.nan
    changed = (draw_heatmaps(picture(60, 80), heatmap) != 200).any(-1)
    y, x = np.argwhere(changed).mean(0)
    assert (x, y) == (20, 24)  # 4 * (5, 6), without half a heatmap pixel of shift
    assert np.array_equal(draw_heatmaps(picture(), np.zeros((2, 7, 5))), picture())


def test_layout_gt_left_pred_right_heatmaps_below(tmp_path):
    visualizer = VISUALIZERS.build(dict(type='PoseLocalVisualizer', vis_backends=[
        dict(type='LocalVisBackend')], save_dir=str(tmp_path)))
    visualizer.set_dataset_meta(META)
    image, data = picture(), sample(score=0.1)
    assert visualizer.add_datasample('a', image, data).shape == (60, 180, 3)
    drawn = visualizer.get_image()
    assert (drawn[:, 90:] == 200).all() and (drawn[:, :90] != 200).any()
    assert visualizer.add_datasample('a', image, data, draw_gt=False).shape == (60, 90, 3)
    heat = visualizer.add_datasample('a', image, data, draw_heatmap=True, draw_bbox=True,
                                     show_kpt_idx=True, out_file=str(tmp_path / 'x' / 'y.png'))
    assert heat.shape == (120, 180, 3)
    assert np.array_equal(cv2.imread(str(tmp_path / 'x' / 'y.png'))[..., ::-1], heat)
    assert (tmp_path / 'vis_data' / 'vis_image' / 'a_0.png').exists()
    assert np.array_equal(visualizer.add_datasample('a', image, PoseDataSample()), image)
    assert (image == 200).all()


@pytest.mark.parametrize('options', [
    dict(alpha=0.5), dict(show_keypoint_weight=True), dict(kpt_color=(1, 2, 3)),
    dict(kpt_color='blue', link_color='orange', skeleton=[(0, 1)]), dict(radius=0.5, line_width=3)])
def test_options(options):
    visualizer = PoseLocalVisualizer(**options)
    points = np.array([[[20., 20], [60, 40]]])
    drawn = visualizer.add_datasample('a', picture(), sample(points, 0.6), draw_heatmap=False)
    assert (drawn != 200).any()


def test_weight_makes_faint():
    points = [[[30, 30]]]
    strong, weak = (draw_keypoints(picture(), points, [[score]], RED_AND_NO_LINKS, weighted=True)
                    for score in (1.0, 0.4))
    assert strong[30, 30].tolist() == [255, 0, 0] and weak[30, 30, 1] == pytest.approx(120, abs=1)


def test_torch_tensors_and_visibility_with_weights():
    torch = pytest.importorskip('torch')
    data = PoseDataSample()
    data.pred_instances = InstanceData(keypoints=torch.full((1, 17, 2), 20.),
                                       keypoints_visible=torch.ones(1, 17, 2))
    visualizer = PoseLocalVisualizer()
    assert (visualizer.add_datasample('a', picture(), data) != 200).any()


@pytest.mark.parametrize('call, word', [
    (lambda: draw_keypoints(picture() / 255, np.zeros((1, 17, 2))), 'uint8'),
    (lambda: draw_keypoints(picture(), np.zeros((17, 2))), r'keypoints\[None\]'),
    (lambda: draw_keypoints(picture(), np.zeros((1, 17, 2)), np.ones(17)), 'visible'),
    (lambda: draw_keypoints(picture(), np.zeros((1, 5, 2)), None, META), 'K = 5'),
    (lambda: draw_heatmaps(picture(), np.zeros((1, 2, 3, 4))), 'heatmaps'),
    (lambda: PoseLocalVisualizer(backend='plotly'), 'backend'),
    (lambda: PoseLocalVisualizer(vis_backends=[dict(type='WandB')]), 'vis_backends'),
    (lambda: PoseLocalVisualizer().set_dataset_meta(META, 'openpose'), 'skeleton_style'),
    (lambda: PoseLocalVisualizer().get_image(), 'add_datasample'),
    (lambda: draw_boxes(picture(), np.zeros((1, 4)), 'teal-ish'), 'color'),
])
def test_errors_say_what_is_wrong(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_a_name_does_not_lead_out_of_the_folder(tmp_path):
    visualizer = PoseLocalVisualizer(save_dir=str(tmp_path / 'out'))
    for name in ('../../../stolen', str(tmp_path / 'stolen')):
        with pytest.raises(ValueError, match='must be a path inside'):
            visualizer.add_datasample(name, picture(), sample())
    visualizer.add_datasample('sub/fine', picture(), sample())
    assert [p.name for p in tmp_path.rglob('*.png')] == ['fine_0.png']


WEIRD = [None, 'x', -1, float('nan'), float('inf'), [], {}, (1, 2, 3, 4), object(), b'x', np.zeros((2, 2)), [[1], [1, 2]]]


@pytest.mark.parametrize('value', WEIRD)
def test_any_argument_is_taken_or_answered_in_one_sentence(value):
    good = np.full((1, 17, 2), 20.)
    calls = [lambda: draw_keypoints(value, good), lambda: draw_keypoints(picture(), value),
             lambda: draw_keypoints(picture(), good, value), lambda: draw_keypoints(picture(), good, radius=value),
             lambda: draw_keypoints(picture(), good, line_width=value), lambda: draw_keypoints(picture(), good, alpha=value),
             lambda: draw_boxes(picture(), value), lambda: draw_boxes(picture(), np.zeros((1, 4)), value),
             lambda: draw_heatmaps(picture(), value), lambda: draw_heatmaps(picture(), np.zeros((1, 3, 4)), value),
             lambda: PoseLocalVisualizer(line_width=value), lambda: PoseLocalVisualizer(radius=value),
             lambda: PoseLocalVisualizer(alpha=value), lambda: PoseLocalVisualizer(backend=value)]
    for i, call in enumerate(calls):
        try:
            call()
        except (ValueError, TypeError) as e:
            assert ' must be ' in str(e) and '; got ' in str(e), (i, str(e))


def test_import_needs_no_matplotlib():
    code = 'import posebook.visualization, sys; assert "matplotlib" not in sys.modules'
    subprocess.run([sys.executable, '-c', code], check=True)
