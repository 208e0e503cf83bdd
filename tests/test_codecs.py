"""Properties of the codecs, over maps of any size and points anywhere."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from loops import decode_by_loop, encode_by_loop

from posebook.codecs import MSRAHeatmap, RegressionLabel

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
STRIDES = st.sampled_from([(1, 1), (4, 4), (2, 3)])


@st.composite
def scenes(draw, floats=(np.float32, np.float64)):
    """A codec's sizes, keypoints on, near and far off its map, and their visibility."""
    heatmap_size, stride = draw(SIZES), draw(STRIDES)
    input_size = tuple(a * b for a, b in zip(heatmap_size, stride))
    shape = draw(st.integers(0, 3)), draw(st.integers(1, 4))
    dtype = draw(st.sampled_from(floats))
    points = draw(hnp.arrays(dtype, (*shape, 2), elements=st.floats(-2, 3, width=32)))
    visible = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 1])))
    return dict(input_size=input_size, heatmap_size=heatmap_size), (points * input_size).astype(dtype), visible


@given(scenes(), st.integers(1, 4))
def test_encode_draws_what_the_loop_draws(scene, sigma):
    sizes, keypoints, visible = scene
    codec = MSRAHeatmap(**sizes, sigma=sigma)
    before = keypoints.copy(), visible.copy()
    got, want = codec.encode(keypoints, visible), encode_by_loop(codec, keypoints, visible)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(keypoints, before[0])
    np.testing.assert_array_equal(visible, before[1])


@given(scenes(), st.sampled_from([.4, 1, 1.5, 2, 3.7]), st.booleans())
def test_encode_is_bounded_and_an_unseen_point_may_be_anywhere(scene, sigma, unbiased):
    sizes, keypoints, visible = scene
    codec = MSRAHeatmap(**sizes, sigma=sigma, unbiased=unbiased)
    encoded = codec.encode(keypoints, visible)
    heatmaps, weights = encoded['heatmaps'], encoded['keypoint_weights']
    assert heatmaps.dtype == np.float32 and heatmaps.shape == (keypoints.shape[1], *sizes['heatmap_size'][::-1])
    assert (heatmaps >= 0).all() and (heatmaps <= 1).all()
    assert (weights <= visible).all()
    assert not heatmaps[~(visible > 0).any(0)].any()
    hidden = np.where(visible[..., None] > 0, keypoints, np.nan)
    np.testing.assert_array_equal(codec.encode(hidden, visible)['heatmaps'], heatmaps)


@given(scenes(), st.sampled_from([1, 1.5, 2]), st.booleans(), st.randoms(use_true_random=False))
def test_permuting_keypoints_permutes_maps_and_results(scene, sigma, unbiased, random):
    sizes, keypoints, visible = scene
    codec = MSRAHeatmap(**sizes, sigma=sigma, unbiased=unbiased)
    order = list(range(keypoints.shape[1]))
    random.shuffle(order)
    heatmaps = codec.encode(keypoints, visible)['heatmaps']
    shuffled = codec.encode(keypoints[:, order], visible[:, order])['heatmaps']
    np.testing.assert_array_equal(shuffled, heatmaps[order])
    for one, other in zip(codec.decode(heatmaps), codec.decode(shuffled)):
        np.testing.assert_allclose(other, one[:, order], rtol=1e-5, atol=1e-4)


@given(st.tuples(st.integers(8, 40), st.integers(8, 40)), STRIDES, st.integers(0, 2**32 - 1))
def test_a_point_comes_back(heatmap_size, stride, seed):
    """Within half a heatmap pixel an axis and the quarter step; DARK far closer, off the border."""
    rng = np.random.default_rng(seed)
    sizes = dict(input_size=tuple(a * b for a, b in zip(heatmap_size, stride)), heatmap_size=heatmap_size)
    points = rng.uniform(2.6, np.subtract(heatmap_size, 3.6), (1, 5, 2)) * stride
    plain, dark = (MSRAHeatmap(**sizes, sigma=1, unbiased=u) for u in (False, True))
    error = np.abs(plain.decode(plain.encode(points)['heatmaps'])[0] - points) / stride
    assert error.max() <= 0.75 + 1e-4
    error = np.abs(dark.decode(dark.encode(points)['heatmaps'])[0] - points) / stride
    assert np.median(error) <= 0.35


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 7, 11]))
def test_dark_decodes_what_the_loop_decodes(seed, kernel):
    rng = np.random.default_rng(seed)
    codec = MSRAHeatmap((96, 128), (24, 32), 2, unbiased=True, blur_kernel_size=kernel)
    heatmaps = codec.encode(rng.uniform(-8, (104, 136), (1, 6, 2)))['heatmaps']
    heatmaps = np.maximum(heatmaps + rng.normal(0, .02, heatmaps.shape), .001).astype(np.float32)
    for got, want in zip(codec.decode(heatmaps), decode_by_loop(codec, heatmaps)):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize('unbiased', [False, True])
def test_a_whole_pixel_moves_the_map_by_one(unbiased):
    codec = MSRAHeatmap((96, 128), (24, 32), 1, unbiased=unbiased)
    point = np.array([[[41., 63.]]])
    here, there = (codec.encode(p)['heatmaps'][0] for p in (point, point + [4, 8]))
    np.testing.assert_allclose(there[2:, 1:], here[:-2, :-1], atol=1e-6)


@given(scenes())
def test_regression_labels_are_exact_inside_and_weightless_outside(scene):
    sizes, keypoints, visible = scene
    codec = RegressionLabel(sizes['input_size'])
    before = keypoints.copy(), visible.copy()
    encoded = codec.encode(keypoints, visible)
    labels, weights = encoded['keypoint_labels'], encoded['keypoint_weights']
    assert labels.dtype == weights.dtype == np.float32 and labels.shape == keypoints.shape
    inside = ((keypoints >= 0) & (keypoints <= np.subtract(sizes['input_size'], 1))).all(-1)
    np.testing.assert_array_equal(weights, inside * visible)
    decoded, scores = codec.decode(labels)
    np.testing.assert_allclose(decoded, keypoints, rtol=1e-5, atol=1e-4)
    assert scores.shape == visible.shape and (scores == 1).all()
    np.testing.assert_array_equal(keypoints, before[0])
    np.testing.assert_array_equal(visible, before[1])


@pytest.mark.parametrize('size', [192, (192,), (192, 0), (192.5, 256), (192, 256, 3), 'ab', None])
def test_regression_label_says_what_an_input_size_is(size):
    with pytest.raises(ValueError, match='RegressionLabel: input_size must be'):
        RegressionLabel(size)
