"""Properties of boxes, keypoints, data samples and the three spaces."""
import copy
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posebook.structures import (BaseDataElement, InstanceData, MultilevelPixelData, PixelData, PoseDataSample,
                                 Spaces, bbox_clip_border, bbox_corner2xyxy, bbox_cs2xywh,
                                 bbox_cs2xyxy, bbox_overlaps, bbox_xywh2cs, bbox_xywh2xyxy,
                                 bbox_xyxy2corner, bbox_xyxy2cs, bbox_xyxy2xywh, fit_aspect_ratio,
                                 flip_bbox, flip_keypoints, flip_keypoints_custom_center,
                                 get_pers_warp_matrix, get_udp_warp_matrix, get_warp_matrix,
                                 input_to_image, keypoint_clip_border, merge_data_samples, revert_heatmap,
                                 split_instances)

number = st.floats(-500, 500, width=32)
side = st.floats(1, 500)
DIRECTIONS = ['horizontal', 'vertical', 'diagonal']
FLIP = [0, 2, 1, 4, 3]


@st.composite
def boxes(draw, dtype=np.float64):
    n = draw(st.integers(0, 5))
    xywh = [[draw(number), draw(number), draw(side), draw(side)] for _ in range(n)]
    xywh = np.array(xywh, dtype).reshape(n, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


@st.composite
def crops(draw):
    return dict(center=(draw(number), draw(number)), scale=(draw(side), draw(side)),
                rot=draw(st.floats(-180, 180)),
                output_size=(draw(st.integers(2, 300)), draw(st.integers(2, 300))))


def affine(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def unchanged(function, *args, **kwargs):
    """Call `function` and check that it did not write into its arguments."""
    before = copy.deepcopy((args, kwargs))
    out = function(*args, **kwargs)
    for a, b in zip([*args, *kwargs.values()], [*before[0], *before[1].values()]):
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
    return out


# ------------------------------------------------------------------------------ boxes
@given(boxes(), st.floats(0.5, 2))
def test_box_round_trips(xyxy, padding):
    close = dict(rtol=0, atol=1e-9)
    xywh = unchanged(bbox_xyxy2xywh, xyxy)
    np.testing.assert_allclose(unchanged(bbox_xywh2xyxy, xywh), xyxy, **close)
    cs = unchanged(bbox_xyxy2cs, xyxy, padding)
    np.testing.assert_allclose(bbox_cs2xyxy(*cs, padding), xyxy, **close)
    np.testing.assert_allclose(bbox_cs2xywh(*cs, padding), xywh, **close)
    np.testing.assert_allclose(bbox_xywh2cs(xywh, padding), cs, **close)
    corners = unchanged(bbox_xyxy2corner, xyxy)
    assert corners.shape == (len(xyxy), 4, 2)
    np.testing.assert_array_equal(bbox_corner2xyxy(corners), xyxy)
    np.testing.assert_array_equal(bbox_corner2xyxy(corners[:, [2, 0, 3, 1]]), xyxy)
    np.testing.assert_array_equal(bbox_corner2xyxy(corners.reshape(-1, 8)), xyxy)


@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.int64])
@pytest.mark.parametrize('n', [0, 1, 3])
def test_box_shapes_and_dtypes(dtype, n):
    xyxy = np.tile(np.array([2, 3, 10, 21], dtype), (n, 1))
    assert bbox_xyxy2xywh(xyxy).dtype == bbox_xywh2xyxy(xyxy).dtype == dtype
    center, scale = bbox_xyxy2cs(xyxy, 1.25)
    assert center.shape == scale.shape == (n, 2) and center.dtype.kind == 'f'
    assert bbox_cs2xyxy(center, scale).shape == bbox_cs2xywh(center, scale).shape == (n, 4)
    assert bbox_clip_border(xyxy, (8, 9)).dtype == dtype
    assert flip_bbox(xyxy, (30, 40), 'xyxy').shape == (n, 4)


def test_scores_stay_and_single_boxes_work():
    scored = np.array([[1, 2, 11, 22, 0.9]], np.float32)
    np.testing.assert_allclose(bbox_xyxy2xywh(scored), [[1, 2, 10, 20, 0.9]])
    center, scale = bbox_xyxy2cs(scored[0, :4])
    assert center.tolist() == [6, 12] and scale.tolist() == [10, 20]
    assert bbox_xyxy2corner(scored[0, :4]).tolist() == [[1, 2], [1, 22], [11, 2], [11, 22]]


@pytest.mark.parametrize('call', [
    lambda: bbox_xyxy2xywh(np.zeros((2, 3))),
    lambda: bbox_xywh2xyxy(np.zeros(4)),
    lambda: bbox_xyxy2cs(np.zeros((2, 5))),
    lambda: bbox_xywh2cs(np.zeros((2, 2, 4))),
    lambda: bbox_cs2xyxy(np.zeros((2, 2)), np.zeros((3, 2))),
    lambda: bbox_cs2xywh(np.zeros(3), np.zeros(3)),
    lambda: bbox_xyxy2corner(np.zeros((2, 8))),
    lambda: bbox_corner2xyxy(np.zeros((2, 3, 2))),
    lambda: bbox_clip_border(np.zeros((2, 3)), (10, 10)),
    lambda: flip_bbox(np.zeros((2, 4)), (10, 10), 'ltrb'),
    lambda: flip_bbox(np.zeros((2, 4)), (10, 10), 'xyxy', 'sideways'),
    lambda: flip_bbox(np.zeros((2, 4)), (10, 10), 'center'),
    lambda: fit_aspect_ratio(np.zeros(3), 0.75),
    lambda: get_warp_matrix([1, 2, 3], [1, 1], 0, (10, 20)),
    lambda: get_warp_matrix([1, 2], [0, 1], 0, (10, 20)),
    lambda: get_warp_matrix([1, 2], [1, 1], 0, (10, 20, 3)),
    lambda: get_udp_warp_matrix([1, 2], [[1, 1]], 0, (10, 20)),
    lambda: get_pers_warp_matrix([1, 2], [1], 1., 0, [0, 0]),
    lambda: bbox_overlaps(np.zeros((2, 4)), np.zeros((3, 4)), mode='ciou'),
    lambda: bbox_overlaps(np.zeros((2, 4)), np.zeros((3, 4)), is_aligned=True),
    lambda: bbox_overlaps(np.zeros((2, 5)), np.zeros((3, 4))),
    lambda: flip_keypoints(np.zeros((1, 5, 2)), np.zeros((1, 4)), (10, 20), FLIP),
    lambda: flip_keypoints(np.zeros((1, 5, 2)), np.zeros((1, 5)), (10, 20), FLIP[:4]),
    lambda: flip_keypoints(np.zeros((1, 5, 2)), np.zeros((1, 5)), (10, 20), FLIP, 'left'),
    lambda: flip_keypoints_custom_center(np.zeros((5, 3)), np.zeros(5), FLIP, 'middle'),
    lambda: flip_keypoints_custom_center(np.zeros((5, 3)), np.zeros(5), FLIP, 'root', 0., 5),
    lambda: keypoint_clip_border(np.zeros((1, 5, 2)), np.zeros((1, 4)), (10, 20)),
    lambda: revert_heatmap(np.zeros(4), [1, 2], [3, 4], (10, 20)),
    lambda: merge_data_samples([dict()]),
    lambda: Spaces((1, 2), (3, 4), input_size=(192, 256), heatmap_size=(64, 48)),
    lambda: Spaces((1, 2), (3, 4), input_size=(192, 256), heatmap_size=(0, 64)),
])
def test_bad_input_raises_value_error(call):
    with pytest.raises(ValueError):
        call()


WEIRD = [None, 'x', -1, float('nan'), [], {}, (1, 2, 3), object(), b'x', np.zeros((2, 2)), [[1], [1, 2]], 10**400,
         np.array(['a', 'b']), torch.zeros(2, 2), np.zeros((1, 5, 2)), True]
BOX, POINTS, SEEN = np.array([[1., 2, 30, 40]]), np.ones((1, 5, 2)), np.ones((1, 5))
CALLS = {  # function, good arguments
    bbox_xyxy2xywh: (BOX,), bbox_xywh2xyxy: (BOX,), bbox_xyxy2cs: (BOX, 1.), bbox_xywh2cs: (BOX, 1.),
    bbox_cs2xyxy: (BOX[:, :2], BOX[:, 2:], 1.), bbox_cs2xywh: (BOX[:, :2], BOX[:, 2:], 1.),
    fit_aspect_ratio: (BOX[:, 2:], .75), bbox_xyxy2corner: (BOX,), bbox_corner2xyxy: (np.zeros((1, 4, 2)),),
    bbox_clip_border: (BOX, (9, 9)), flip_bbox: (BOX, (9, 9), 'xyxy', 'horizontal'),
    bbox_overlaps: (BOX, BOX, 'iou'), get_warp_matrix: ((1, 2), (3, 4), 0., (5, 6)),
    get_udp_warp_matrix: ((1, 2), (3, 4), 0., (5, 6)), get_pers_warp_matrix: ((1, 2), (3, 4), 1., 0., (0, 0)),
    flip_keypoints: (POINTS, SEEN, (9, 9), FLIP, 'horizontal'), keypoint_clip_border: (POINTS, SEEN, (9, 9)),
    flip_keypoints_custom_center: (POINTS, SEEN, FLIP, 'root', .5, 0)}


@pytest.mark.parametrize('function', CALLS, ids=lambda f: f.__name__)
def test_any_argument_is_taken_or_answered_in_one_sentence(function):
    good = CALLS[function]
    function(*good)
    for i in range(len(good)):
        for value in WEIRD:
            try:
                function(*good[:i], value, *good[i + 1:])
            except (ValueError, TypeError) as e:
                assert ' must be ' in str(e) and '; got ' in str(e), (i, value, str(e))


def test_a_plane_through_several_roots():
    points = np.random.default_rng(0).normal(size=(2, 3, 5, 3))
    flipped, _ = flip_keypoints_custom_center(points, None, FLIP, 'root', center_index=[1, 2])
    center = (points[..., 1, 0] + points[..., 2, 0]) / 2
    np.testing.assert_allclose(flipped[..., 0], 2 * center[..., None] - points[..., FLIP, 0])
    np.testing.assert_array_equal(flipped[..., 1:], points[..., FLIP, 1:])
    one, several = (flip_keypoints_custom_center(points, None, FLIP, 'root', center_index=i)[0] for i in (3, [3]))
    np.testing.assert_array_equal(one, several)
    for wrong in ([], [0, 5], [0, 'x'], -1, 1.5):
        with pytest.raises(ValueError, match='center_index must be'):
            flip_keypoints_custom_center(points, None, FLIP, 'root', center_index=wrong)


@given(boxes(), st.sampled_from(DIRECTIONS), st.sampled_from(['xyxy', 'xywh', 'center']))
def test_flipping_boxes_twice_changes_nothing(xyxy, direction, bbox_format):
    box = xyxy[:, :2] if bbox_format == 'center' else xyxy
    once = unchanged(flip_bbox, box, (201, 150), bbox_format, direction)
    np.testing.assert_allclose(flip_bbox(once, (201, 150), bbox_format, direction), box, atol=1e-9)
    if bbox_format == 'xyxy':
        assert (once[:, 2:] >= once[:, :2]).all()
        center = flip_bbox(bbox_xyxy2cs(xyxy)[0], (201, 150), 'center', direction)
        np.testing.assert_allclose(bbox_xyxy2cs(once)[0], center, atol=1e-9)


@given(boxes(), st.integers(1, 300), st.integers(1, 300))
def test_clip_border(xyxy, w, h):
    out = unchanged(bbox_clip_border, xyxy, (w, h))
    assert (out >= 0).all() and (out <= [w, h, w, h]).all()
    np.testing.assert_array_equal(bbox_clip_border(out, (w, h)), out)
    corners = bbox_clip_border(bbox_xyxy2corner(xyxy), (w, h))
    np.testing.assert_array_equal(bbox_corner2xyxy(corners), out)


@given(hnp.arrays(np.float64, (3, 2), elements=side), st.floats(0.2, 5))
def test_fit_aspect_ratio_only_grows(scale, ratio):
    out = unchanged(fit_aspect_ratio, scale, ratio)
    np.testing.assert_allclose(out[:, 0] / out[:, 1], ratio)
    assert (out >= scale - 1e-9).all()
    assert np.isclose(out, scale).any(axis=1).all()  # one side stays


@given(boxes(), boxes())
def test_overlaps(a, b):
    iou = unchanged(bbox_overlaps, a, b)
    giou = bbox_overlaps(a, b, mode='giou')
    assert iou.shape == giou.shape == (len(a), len(b))
    assert (iou >= 0).all() and (iou <= 1 + 1e-9).all()
    assert (giou <= iou + 1e-9).all() and (giou >= -1 - 1e-9).all()
    np.testing.assert_allclose(iou, bbox_overlaps(b, a).T)
    for mode in ('iou', 'iof', 'giou'):
        np.testing.assert_allclose(bbox_overlaps(a, a, mode, is_aligned=True), np.ones(len(a)))
        tensors = bbox_overlaps(torch.tensor(a), torch.tensor(b), mode)
        np.testing.assert_allclose(tensors.numpy(), bbox_overlaps(a, b, mode), atol=1e-12)


def test_overlaps_without_area_and_in_batches():
    point = torch.tensor([[5., 5, 5, 5]])
    assert bbox_overlaps(point, point).tolist() == [[0.]]
    batch = torch.rand(2, 3, 4)
    assert bbox_overlaps(batch, batch[:, :2]).shape == (2, 3, 2)
    assert bbox_overlaps(torch.zeros(0, 4), torch.zeros(0, 4), is_aligned=True).shape == (0,)
    with pytest.raises(TypeError, match='mixture'):
        bbox_overlaps(point, point.numpy())


# ---------------------------------------------------------------------- warp matrices
@given(crops())
def test_warp_matrix_inverse(crop):
    there, back = get_warp_matrix(**crop), get_warp_matrix(**crop, inv=True)
    points = np.array([[0., 0], [10, -3], [70, 99]])
    np.testing.assert_allclose(affine(back, affine(there, points)), points, atol=1e-6)
    middle = affine(there, np.array(crop['center']))
    np.testing.assert_allclose(middle, np.array(crop['output_size']) / 2, atol=1e-6)


@given(crops(), st.booleans())
def test_warp_matrix_against_three_points_and_opencv(crop, fix_aspect_ratio):
    center, scale = np.array(crop['center']), np.array(crop['scale'])
    w, h = crop['output_size']
    angle = np.deg2rad(crop['rot'])
    across = np.array([np.cos(angle), np.sin(angle)])  # the box's x axis in the picture
    down = np.array([-across[1], across[0]])
    half_h = scale[0] / w * h / 2 if fix_aspect_ratio else scale[1] / 2
    src = np.array([center, center - across * scale[0] / 2, center - down * half_h])
    dst = np.array([[w / 2, h / 2], [0, h / 2], [w / 2, 0]])
    expected = cv2.getAffineTransform(src.astype(np.float32), dst.astype(np.float32))
    got = get_warp_matrix(**crop, fix_aspect_ratio=fix_aspect_ratio)
    # OpenCV takes float32 points: compare where they land, in crop pixels
    size = max(w, h) / min(scale.min(), 2 * half_h)
    np.testing.assert_allclose(affine(got, src), affine(expected, src), atol=1e-3 * (1 + size))


@given(crops())
def test_udp_puts_corners_on_corner_pixels(crop):
    crop['rot'] = 0.
    (w, h), center, scale = crop['output_size'], np.array(crop['center']), np.array(crop['scale'])
    corners = np.array([center - scale / 2, center + scale / 2])
    got = affine(get_udp_warp_matrix(**crop), corners)
    np.testing.assert_allclose(got, [[0, 0], [w - 1, h - 1]], atol=1e-6)


def test_pers_matrix_limits():
    same = get_pers_warp_matrix([30, 20], [0, 0], 1., 0., [0, 0])
    np.testing.assert_allclose(same, np.eye(3), atol=1e-12)
    turned = get_pers_warp_matrix([30, 20], [5, -3], 2., 90., [0, 0])
    np.testing.assert_allclose(turned @ [30, 20, 1], [35, 17, 1])
    np.testing.assert_allclose(turned @ [31, 20, 1], [35, 19, 1])


# -------------------------------------------------------------------------- keypoints
@given(hnp.arrays(np.float32, (2, 5, 2), elements=number), st.sampled_from(DIRECTIONS))
def test_flipping_keypoints_twice_changes_nothing(keypoints, direction):
    visible = np.arange(10).reshape(2, 5)
    once = unchanged(flip_keypoints, keypoints, visible, (200, 151), FLIP, direction)
    assert once[0].dtype == np.float32
    twice = flip_keypoints(*once, (200, 151), FLIP, direction)
    np.testing.assert_allclose(twice[0], keypoints, atol=1e-3)
    np.testing.assert_array_equal(twice[1], visible)
    assert flip_keypoints(keypoints, None, (200, 151), FLIP, direction)[1] is None


def test_flip_keypoints_swaps_names():
    keypoints = np.array([[[10., 1], [20, 2], [30, 3], [40, 4], [50, 5]]])
    visible = np.array([[[1, .1], [1, .2], [0, .3], [1, .4], [1, .5]]])
    flipped, vis = flip_keypoints(keypoints, visible, (np.int64(100), 50), FLIP)
    assert flipped[0].tolist() == [[89, 1], [69, 3], [79, 2], [49, 5], [59, 4]]
    assert vis[0, :, 1].tolist() == [.1, .3, .2, .5, .4]
    turned, _ = flip_keypoints(keypoints, None, (100, 50), FLIP, 'diagonal')
    assert turned[0, 1].tolist() == [79, 47]  # a half turn: nobody changes side


@pytest.mark.parametrize('mode', [dict(center_x=0.25), dict(center_mode='root', center_index=3)])
def test_custom_center(mode):
    keypoints = np.random.default_rng(0).normal(size=(3, 5, 3))
    flipped, visible = unchanged(flip_keypoints_custom_center, keypoints, np.ones((3, 5)), FLIP,
                                 **mode)
    axis = keypoints[:, 3:4, 0] if 'center_index' in mode else 0.25
    np.testing.assert_allclose(flipped[..., 0], 2 * axis - keypoints[:, FLIP, 0])
    np.testing.assert_array_equal(flipped[..., 1:], keypoints[:, FLIP, 1:])
    assert visible.shape == (3, 5)


@pytest.mark.parametrize('extra', [(), (2,)])
def test_keypoint_clip_border(extra):
    keypoints = np.array([[[-1., 2], [0, 0], [64, 48], [64.5, 1]]])
    visible = np.ones((1, 4, *extra))
    same, out = unchanged(keypoint_clip_border, keypoints, visible, (64, 48))
    np.testing.assert_array_equal(same, keypoints)
    first = out[..., 0] if extra else out
    assert first[0].tolist() == [0, 1, 1, 0]
    if extra:
        assert out[..., 1].all()


# ----------------------------------------------------------------------- data samples
def instances():
    return InstanceData(metainfo=dict(img_shape=(40, 50)),
                        keypoints=np.arange(30.).reshape(3, 5, 2),
                        scores=torch.tensor([.1, .5, .9]), names=['a', 'b', 'c'], code='xyz')


@pytest.mark.parametrize('index, expected', [
    (1, [1]), (-1, [2]), (np.int64(0), [0]), (slice(1, None), [1, 2]),
    (slice(None, None, -2), [2, 0]),
    ([2, 0], [2, 0]), (np.array([1, 1]), [1, 1]), (np.array([True, False, True]), [0, 2]),
    (torch.tensor([0, 2]), [0, 2]), (torch.tensor([False, False, True]), [2]), ([], []),
    ([True, False, False], [0]), (np.zeros(3, bool), [])])
def test_instance_indexing(index, expected):
    data = instances()
    if isinstance(index, slice) and index.step:
        del data.scores  # torch has no negative steps
    out = data[index]
    assert len(out) == len(expected) and out.img_shape == (40, 50)
    np.testing.assert_array_equal(out.keypoints, data.keypoints[expected])
    assert out.names == [data.names[i] for i in expected]
    assert out.code == ''.join(data.code[i] for i in expected)


@pytest.mark.parametrize('index', [3, -4, [0, 3], np.zeros(2, bool), np.zeros((2, 2), int), [0.5],
                                   torch.tensor([[1]])])
def test_bad_instance_index(index):
    with pytest.raises(IndexError):
        instances()[index]


def test_instances_hold_one_length():
    data = instances()
    with pytest.raises(ValueError, match='boxes must have 3 entries'):
        data.boxes = np.zeros((2, 4))
    with pytest.raises(TypeError, match='must have a length'):
        data.area = 3.
    with pytest.raises(AttributeError, match='already in the metainfo'):
        data.img_shape = [1, 2, 3]
    assert data['scores'] is data.scores and len(InstanceData()) == 0
    assert [len(one) for one in data] == [1, 1, 1]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_cat_undoes_slicing(lengths):
    n = sum(lengths)
    whole = InstanceData(a=np.random.default_rng(0).random((n, 2)), b=torch.arange(n),
                         c=list(range(n)), d=tuple(range(n)))
    ends = np.cumsum(lengths)
    parts = [whole[int(end - k):int(end)] for end, k in zip(ends, lengths)]
    back = InstanceData.cat(parts)
    assert len(back) == n and back.c == whole.c and back.d == whole.d
    np.testing.assert_array_equal(back.a, whole.a)
    assert torch.equal(back.b, whole.b)


def test_cat_wants_the_same_fields():
    with pytest.raises(ValueError, match='same fields'):
        InstanceData.cat([InstanceData(a=[1]), InstanceData(b=[1])])
    with pytest.raises(ValueError, match='non-empty'):
        InstanceData.cat([])


def test_data_sample_drawers():
    sample = PoseDataSample(metainfo=dict(img_id=7))
    assert sample.img_id == 7 and sample.metainfo == dict(img_id=7) and sample.keys() == []
    sample.gt_instances = instances()
    assert 'gt_instances' in sample and 'img_id' in sample and 'pred_instances' not in sample
    assert sample.get('pred_instances') is None
    with pytest.raises(AttributeError, match='has no pred_instances. It holds'):
        sample.pred_instances
    with pytest.raises(TypeError, match='must be InstanceData'):
        sample.pred_instances = dict(keypoints=1)
    with pytest.raises(TypeError, match='PixelData or MultilevelPixelData'):
        sample.gt_fields = instances()
    with pytest.raises(AttributeError, match='reserved'):
        sample.keys = 3
    assert sample.pop('gt_instances').code == 'xyz' and sample.pop('gone', None) is None
    metainfo = dict(center=np.zeros(2))
    sample.set_metainfo(metainfo)
    sample.center[0] = 1
    assert metainfo['center'][0] == 0  # copied


def test_conversions_go_all_the_way_down():
    sample = PoseDataSample(metainfo=dict(k=np.zeros(2)))
    sample.gt_instances = InstanceData(x=np.zeros((2, 3), np.float32))
    sample.gt_fields = MultilevelPixelData(heatmaps=[np.zeros((5, 8, 6)), np.zeros((5, 4, 3))])
    tensors = sample.to_tensor()
    assert isinstance(tensors.gt_instances.x, torch.Tensor) and isinstance(tensors.k, np.ndarray)
    assert tensors.gt_fields.heatmaps[1].shape == (5, 4, 3)
    assert tensors.to(torch.float64).gt_instances.x.dtype == torch.float64
    assert isinstance(sample.gt_instances.x, np.ndarray)  # the original is left alone
    back = tensors.cpu().detach().numpy()
    np.testing.assert_array_equal(back.gt_instances.x, sample.gt_instances.x)
    assert sample.to_dict()['gt_instances']['x'] is sample.gt_instances.x


@pytest.mark.parametrize('copier', [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s)),
                                    PoseDataSample.clone])
def test_copies_are_independent(copier):
    sample = PoseDataSample(metainfo=dict(img_id=1), gt_instances=instances())
    other = copier(sample)
    other.gt_instances.keypoints[:] = -1
    assert sample.gt_instances.keypoints.min() == 0 and other.img_id == 1
    assert other.gt_instances.names == ['a', 'b', 'c']


def test_pixel_data():
    data = PixelData(heatmaps=np.zeros((5, 8, 6)), mask=torch.ones(8, 6))
    assert data.shape == (8, 6) and data.mask.shape == (1, 8, 6)
    assert data[2:5, 1].heatmaps.shape == (5, 3, 1)
    assert data[-1, :].shape == (1, 6)
    with pytest.raises(ValueError, match=r'must be \(8, 6\)'):
        data.other = np.zeros((6, 8))
    with pytest.raises(ValueError, match=r'\(C, H, W\)'):
        data.other = np.zeros((1, 2, 8, 6))
    with pytest.raises(TypeError, match='array or a tensor'):
        data.other = [1]


def test_multilevel_pixel_data():
    data = MultilevelPixelData(heatmaps=[np.zeros((2, 8, 6)), np.zeros((2, 4, 3))])
    assert data.nlevel == len(data) == 2 and data.shape == ((8, 6), (4, 3))
    data.masks = [np.ones((1, 8, 6)), np.ones((1, 4, 3))]
    assert data[1].shape == (4, 3) and data[1].keys() == ['heatmaps', 'masks']
    assert [level.shape for level in data[::-1]] == [(4, 3), (8, 6)]
    for bad in ([np.ones((1, 8, 6))], [np.ones((1, 4, 3)), np.ones((1, 8, 6))]):
        with pytest.raises(ValueError):
            data.bad = bad


def test_revert_heatmap_puts_the_peak_back():
    spaces = Spaces((50, 42), (36, 48), input_size=(192, 256), heatmap_size=(48, 64))
    point = np.array([55., 38.])
    x, y = spaces.transform(point)
    grid_y, grid_x = np.mgrid[:64, :48]
    heatmap = np.exp(-((grid_x - x)**2 + (grid_y - y)**2) / 8).astype(np.float32)[None]
    back = revert_heatmap(heatmap, spaces.bbox_center, spaces.bbox_scale, (90, 120))
    assert back.shape == (1, 90, 120) and back.dtype == np.float32
    found = np.unravel_index(back[0].argmax(), (90, 120))[::-1]
    assert np.abs(found - point).max() <= 0.5
    np.testing.assert_array_equal(back[0],
                                  revert_heatmap(heatmap[0], (50, 42), (36, 48), (90, 120)))


def test_merge_and_split():
    def sample(i):
        out = PoseDataSample(metainfo=dict(img_id=i, ori_shape=(40, 50),
                                           input_center=np.array([25., 20]),
                                           input_scale=np.array([40., 30])))
        out.pred_instances = InstanceData(keypoints=np.full((1, 5, 2), i),
                                          keypoint_scores=np.ones((1, 5)),
                                          bboxes=np.array([[1, 2, 3, 4]]))
        out.pred_fields = PixelData(heatmaps=torch.full((5, 12, 16), float(i)))
        return out
    merged = merge_data_samples([sample(0), sample(1)])
    assert merged.img_id == 0 and len(merged.pred_instances) == 2
    maps = merged.pred_fields.heatmaps
    assert maps.shape == (5, 40, 50) and maps.max() == 1
    people = split_instances(merged.pred_instances)
    assert [p['keypoints'][0] for p in people] == [[0, 0], [1, 1]]
    assert people[0]['bbox'] == [1, 2, 3, 4] and split_instances(None) == []
    with pytest.warns(UserWarning, match='empty'):
        assert merge_data_samples([]).keys() == []


# ------------------------------------------------------------------- the three spaces
@given(crops(), st.booleans(), st.booleans(), st.integers(1, 4))
def test_spaces_round_trip(crop, flip, use_udp, stride):
    out_w, out_h = crop.pop('output_size')
    spaces = Spaces(crop['center'], crop['scale'], crop['rot'],
                    input_size=(stride * out_w, stride * out_h), heatmap_size=(out_w, out_h),
                    flip=flip, use_udp=use_udp)
    points = np.random.default_rng(0).uniform(-200, 700, (2, 3, 2))
    assert spaces.round_trip_error(points) < 1e-6
    there = spaces.transform(points, 'image', 'input')
    np.testing.assert_allclose(spaces.transform(there, 'input', 'output'), spaces.transform(points))
    np.testing.assert_array_equal(spaces.transform(points, 'input', 'input'), points)


@pytest.mark.parametrize('use_udp', [False, True])
def test_spaces_corners_are_the_padded_box(use_udp):
    spaces = Spaces.from_bbox([20, 30, 80, 190], (192, 256), (48, 64), use_udp=use_udp)
    # 60 x 160 grows by 1.25 to 75 x 200, then to 150 x 200 for the ratio 3:4
    np.testing.assert_allclose(spaces.bbox_scale, [150, 200])
    np.testing.assert_allclose(spaces.corners('image')[[0, 2]], [[-25, 10], [125, 210]])
    np.testing.assert_allclose(spaces.corners('output')[2], [47, 63] if use_udp else [48, 64])
    assert spaces.crop(np.zeros((240, 160, 3), np.uint8)).shape == (256, 192, 3)


def test_spaces_flip_mirrors_the_crop():
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    plain, mirrored = (Spaces.from_bbox([10, 10, 50, 50], (30, 40), (15, 20), flip=f)
                       for f in (False, True))
    difference = plain.crop(image)[:, ::-1].astype(int) - mirrored.crop(image)
    assert np.abs(difference).max() <= 6  # OpenCV rounds sub-pixel positions to 1/32


def test_spaces_crop_agrees_with_transform():
    image = np.zeros((100, 140), np.float32)
    image[60, 45] = 1.
    spaces = Spaces((50, 55), (30, 40), 20., input_size=(96, 128), heatmap_size=(24, 32))
    crop = spaces.crop(image)
    grid_y, grid_x = np.mgrid[:128, :96]
    centroid = [(crop * grid_x).sum() / crop.sum(), (crop * grid_y).sum() / crop.sum()]
    np.testing.assert_allclose(centroid, spaces.transform([45, 60], 'image', 'input'), atol=0.05)


def test_spaces_errors_name_the_argument():
    spaces = Spaces((1, 2), (3, 4), input_size=(12, 16), heatmap_size=(3, 4))
    with pytest.raises(ValueError, match="Spaces: target must be one of 'image'"):
        spaces.transform([1, 2], 'image', 'heatmap')
    with pytest.raises(ValueError, match='Spaces: points must be of shape'):
        spaces.transform([1, 2, 3])
    with pytest.raises(ValueError, match='Did you swap w and h'):
        Spaces((1, 2), (3, 4), input_size=(12, 16), heatmap_size=(4, 3))
    assert spaces.transform(np.zeros((0, 5, 2))).shape == (0, 5, 2)
    assert repr(spaces).startswith('Spaces(image box 3.0 x 4.0 at (1.0, 2.0)')


def test_fields_are_written_and_dropped_by_name():
    g = InstanceData(scores=np.array([.9, .2, .7]))
    g['names'] = ['ann', 'bob', 'cat']
    assert g.names == ['ann', 'bob', 'cat'] and g['names'] is g.names and g[[2, 0]].names == ['cat', 'ann']
    g['scores'] = g.scores * 2
    assert len(g) == 3 and g[g['scores'] > 1].names == ['ann', 'cat']
    del g['names']
    assert g.keys() == ['scores'] and 'names' not in g
    with pytest.raises(ValueError, match='boxes must have 3 entries'):
        g['boxes'] = np.zeros((2, 4))
    for kind in (KeyError, AttributeError):  # as a dict and as an object
        with pytest.raises(kind, match='InstanceData has no names. It holds'):
            del g['names']
    for index in (0, slice(2), [True, False, True]):
        with pytest.raises(TypeError, match='must be the name of a field'):
            g[index] = np.zeros(3)
        with pytest.raises(TypeError, match='must be the name of a field'):
            del g[index]
    with pytest.raises(AttributeError, match='reserved'):
        g['keys'] = [1, 2, 3]


@pytest.mark.parametrize('element, name, value', [
    (BaseDataElement(metainfo=dict(id=3), x=1), 'x', None), (PixelData(x=np.zeros((2, 3))), 'x', None),
    (MultilevelPixelData(x=[np.zeros((2, 3))]), 'x', [np.ones((1, 2, 3))]),
    (PoseDataSample(metainfo=dict(id=3), pred_fields=PixelData()), 'pred_fields', None)])
def test_every_element_drops_fields_by_name(element, name, value):
    if value is not None:
        element[name] = value
        assert element[name][0] is value[0]
    with pytest.raises(KeyError):
        del element['gone']
    del element[name]
    assert name not in element and element.keys() == []
    if 'id' in element:  # metainfo too, as in MMEngine
        del element['id']
        assert element.all_keys() == []


def test_the_way_back_needs_the_crop_and_keeps_what_follows_x_and_y():
    spaces = Spaces.from_bbox([86, 24, 170, 180], (192, 256), (48, 64))
    meta = dict(input_size=(192, 256), input_center=spaces.bbox_center, input_scale=spaces.bbox_scale)
    points = np.random.default_rng(0).uniform(0, 190, (2, 5, 3)).astype(np.float32)
    back = input_to_image(points, meta)
    assert back.dtype == np.float32 and np.array_equal(back[..., 2], points[..., 2])
    assert np.allclose(back[..., :2], spaces.transform(points[..., :2], 'input', 'image'), atol=1e-3)
    for key in meta:
        with pytest.raises(KeyError, match=rf"input_to_image: metainfo must be .*; got none of \['{key}'\]"):
            input_to_image(points, {k: v for k, v in meta.items() if k != key})


def test_structures_load_numpy_and_opencv_at_most():
    """A subprocess: what this process has imported says nothing."""
    code = ('import sys, posebook.structures; print(*[m for m in ("torch", "torchvision", "matplotlib", "scipy", '
            '"pandas", "pycocotools", "IPython", "ipywidgets") if m in sys.modules])')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ''), done.stdout + done.stderr
