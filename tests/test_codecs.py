"""Properties of every codec and its options, over maps of any size and points anywhere."""
import re
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posebook.codecs import (IntegralRegressionLabel, MegviiHeatmap, MSRAHeatmap, RegressionLabel,
                             SimCCLabel, UDPHeatmap, check_codec)

MAPS, ROWS, LABELS = ('heatmaps',), ('keypoint_x_labels', 'keypoint_y_labels'), ('keypoint_labels',)


@dataclass
class Case:
    """A codec with its options, and what it promises.

    `bounds` maps a distance from the input's border to the largest error of a round trip along an
    axis; both in `unit`, the input pixels of a map's pixel, a bin or a pixel.
    """

    make: object  # (input_size, heatmap_size) -> codec
    keys: tuple  # the encoded items that decode takes
    bounds: dict
    top: float = 1.  # the largest value encoded; inf: no limit
    outside: float = 0.  # the weight of points far outside

    def unit(self, codec):
        return np.broadcast_to(getattr(codec, 'scale_factor', 1 / getattr(codec, 'simcc_split_ratio', 1)), 2)

    def start(self, codec):
        """Where keypoints of which nothing was found are decoded to."""
        at = -1 if self.keys == LABELS else -self.unit(codec)
        return at * (codec.decoded_scale if self.keys == MAPS else 1)


def on_maps(codec, **options):
    return partial(codec, **options)


def on_input(codec, **options):
    return lambda input_size, heatmap_size: codec(input_size, **options)


BINS = {0: .501}  # SimCC: half a bin, up to the border
CODECS = {
    # half a pixel, and a whole one where the bump's top is beyond the last pixel
    'MSRA': Case(on_maps(MSRAHeatmap, sigma=2), MAPS, {0: 1, 1: .501}),
    'MSRA sigma=1': Case(on_maps(MSRAHeatmap, sigma=1), MAPS, {0: 1, 1: .501}),
    # where 3 sigma is no whole number, the patch is cut towards zero: a pixel more at the border
    'MSRA sigma=1.5': Case(on_maps(MSRAHeatmap, sigma=1.5), MAPS, {0: 1.501, 6: .501}),
    # a bump that the border cuts pulls the top inwards
    'DARK': Case(on_maps(MSRAHeatmap, sigma=2, unbiased=True), MAPS, {0: 1, 2: .6, 8: .01}),
    'DARK sigma=1.5': Case(on_maps(MSRAHeatmap, sigma=1.5, unbiased=True, blur_kernel_size=3),
                           MAPS, {0: 1, 2: .6, 5: .01}),
    'UDP': Case(on_maps(UDPHeatmap), MAPS, {0: 1.1, 1: .65, 6: .01}),
    'UDP sigma=1': Case(on_maps(UDPHeatmap, sigma=1, blur_kernel_size=7), MAPS, {0: 1.1, 4: .01}),
    'UDP sigma=1.5': Case(on_maps(UDPHeatmap, sigma=1.5), MAPS, {0: 2.1, 6: .01}),
    # weight 1 anywhere, as the original
    'UDP combined': Case(on_maps(UDPHeatmap, heatmap_type='combined', radius_factor=.5), MAPS,
                         {0: .001}, top=np.inf, outside=1.),
    'Megvii': Case(on_maps(MegviiHeatmap, kernel_size=11), MAPS, {0: 2, 2: .76, 6: .501}, top=255),
    'Megvii kernel=3': Case(on_maps(MegviiHeatmap, kernel_size=3), MAPS, {0: 2, 2: .501}, top=255),
    'SimCC': Case(on_input(SimCCLabel), ROWS, BINS),
    'SimCC k=1': Case(on_input(SimCCLabel, simcc_split_ratio=1, sigma=2.), ROWS, BINS),
    'SimCC k=2.5': Case(on_input(SimCCLabel, simcc_split_ratio=2.5, sigma=(4.9, 5.66)), ROWS, BINS),
    'SimCC not normalized': Case(on_input(SimCCLabel, normalize=False), ROWS, BINS),
    'SimCC visibility': Case(on_input(SimCCLabel, decode_visibility=True, decode_beta=10.), ROWS, BINS),
    'SimCC standard': Case(on_input(SimCCLabel, smoothing_type='standard'), ROWS, BINS),
    'SimCC smooth k=3': Case(on_input(SimCCLabel, smoothing_type='standard', simcc_split_ratio=3,
                                      label_smooth_weight=.1), ROWS, BINS),
    # encoding rounds to whole bins, which no decoder undoes; at the border DARK may do worse
    'SimCC DARK': Case(on_input(SimCCLabel, sigma=2, use_dark=True), ROWS, {4: .51}),
    'SimCC DARK visibility': Case(on_input(SimCCLabel, sigma=(1.5, 2), use_dark=True, normalize=False,
                                           decode_visibility=True), ROWS, {4: .51}),
    'Regression': Case(on_input(RegressionLabel), LABELS, {0: 1e-4}, top=np.inf),
    'Integral': Case(on_maps(IntegralRegressionLabel, sigma=2), LABELS, {0: 1e-4}, top=np.inf),
    'Integral DARK': Case(on_maps(IntegralRegressionLabel, sigma=1, unbiased=True, normalize=False),
                          LABELS, {0: 1e-4}, top=np.inf)}
SIZES = st.tuples(st.integers(2, 24), st.integers(2, 24))
STRIDES = st.sampled_from([(1, 1), (4, 4), (2, 3)])
SEEDS = st.integers(0, 2**32 - 1)
every_codec = pytest.mark.parametrize('case', CODECS.values(), ids=CODECS)
few = settings(max_examples=20)


def frozen(array):
    """The array, and an error for whoever writes into it."""
    array = np.array(array)
    array.setflags(write=False)
    return array


def decode(codec, arrays, method='decode'):
    """All that is decoded, in a list: keypoints, scores, and the visibility if there is one."""
    keypoints, scores = getattr(codec, method)(*map(frozen, arrays))
    return [keypoints, *(scores if isinstance(scores, tuple) else [scores])]


def empty(case, codec, k):
    """Shapes of what decode takes for K keypoints, without N."""
    if case.keys == MAPS:
        return [(k * codec.maps_per_keypoint, *codec.heatmap_size[::-1])]
    return [(1, k, n) for n in (codec.bins if case.keys == ROWS else [2])]


@st.composite
def makers(draw):
    """Sizes to make a codec with; not square, odd, and small ones among them."""
    heatmap_size, stride = draw(SIZES), draw(STRIDES)
    return tuple(a * b for a, b in zip(heatmap_size, stride)), heatmap_size


@st.composite
def people(draw):
    """Keypoints (N, K, 2) in inputs, inside, near and far, and their visibility; N may be 0."""
    shape = draw(st.integers(0, 3)), draw(st.integers(1, 4))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    points = draw(hnp.arrays(dtype, (*shape, 2), elements=st.floats(-2, 3, width=32)))
    return points, draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 1])))


def encode(codec, points, visible=None):
    """What a codec makes of points given in inputs; nothing is written into."""
    points = (points * codec.input_size).astype(points.dtype)
    return codec.encode(frozen(points), visible if visible is None else frozen(visible))


@every_codec
@few
@given(sizes=makers(), seed=SEEDS, dtype=st.sampled_from([np.float32, np.float64]))
def test_points_inside_come_back_within_the_bound(case, sizes, seed, dtype):
    codec, rng = case.make(*sizes), np.random.default_rng(seed)
    size, unit = np.array(sizes[0]), case.unit(codec)
    for margin, bound in case.bounds.items():
        low, high = margin * unit, size - 1 - margin * unit
        if (low <= high).all():
            points = rng.uniform(low, high, (1, 12, 2))
            points[0, :4] = low, high, (low[0], high[1]), (high[0], low[1])
            encoded = codec.encode(frozen(points.astype(dtype)))
            keypoints = decode(codec, [encoded[key] for key in case.keys])[0]
            error = np.abs(keypoints / codec.decoded_scale - points) / unit
            assert error.max() <= bound, (margin, points[0, error[0].max(-1).argmax()])
            assert (encoded['keypoint_weights'] == 1).all()


@every_codec
@few
@given(sizes=makers(), scene=people())
def test_encoded_items_have_their_shapes_limits_and_weights(case, sizes, scene):
    codec, (points, visible) = case.make(*sizes), scene
    encoded, (n, k) = encode(codec, points, visible), visible.shape
    for key, want in zip(case.keys, empty(case, codec, k)):
        assert encoded[key].shape == (want if case.keys == MAPS else (n, *want[1:]))
    for key, item in encoded.items():
        assert item.dtype == np.float32 and np.isfinite(item).all(), key
        if case.top < np.inf and key != 'keypoint_weights':
            assert item.min(initial=0) >= 0 and item.max(initial=0) <= case.top * (1 + 1e-6)
    weights = encoded['keypoint_weights']
    assert weights.shape == (n, k) and np.isin(weights, (0, 1)).all()
    assert (weights <= visible).all() and (case.outside or not weights[(np.abs(points) > 100).any(-1)].any())
    if case.keys != LABELS:  # what is not visible is not drawn, wherever it is
        hidden = encode(codec, np.where(visible[..., None] > 0, points, np.nan), visible)
        for key in encoded:
            np.testing.assert_array_equal(hidden[key], encoded[key])


@every_codec
@few
@given(sizes=makers(), scene=people(), far=st.sampled_from([-1e5, -40., 40., 1e5]), axis=st.integers(0, 1))
def test_points_far_outside_have_no_weight_and_draw_nothing(case, sizes, scene, far, axis):
    codec, (points, visible) = case.make(*sizes), scene
    points[..., axis] = far
    encoded = codec.encode(frozen(points * codec.input_size), frozen(visible))
    assert (encoded['keypoint_weights'] == case.outside * visible).all()
    for key in set(encoded) - {'keypoint_weights', 'keypoint_labels'}:
        drawn = encoded[key][::3] if case.outside else encoded[key]  # offsets are drawn everywhere
        assert not drawn.any()


@every_codec
@few
@given(sizes=makers(), scene=people(), bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e7]), seed=SEEDS)
def test_a_keypoint_that_is_nowhere_is_invisible_and_changes_no_other(case, sizes, scene, bad, seed):
    codec, (points, visible) = case.make(*sizes), scene
    lost = np.random.default_rng(seed).random(points.shape) < .3
    either = lost.any(-1)
    got = encode(codec, np.where(lost, bad, points).astype(points.dtype), visible)
    want = encode(codec, points, np.where(either, 0, visible).astype(np.float32))
    for key in want:
        seen = ~either if key in LABELS else ...
        np.testing.assert_array_equal(got[key][seen], want[key][seen], err_msg=key)
    if 'keypoint_labels' in got:
        assert (got['keypoint_labels'][lost] == 0).all()


@every_codec
@few
@given(sizes=makers(), scene=people(), random=st.randoms(use_true_random=False))
def test_permuting_keypoints_permutes_items_and_results(case, sizes, scene, random):
    codec, (points, visible) = case.make(*sizes), scene
    order = list(range(points.shape[1]))
    random.shuffle(order)
    one, other = encode(codec, points, visible), encode(codec, points[:, order], visible[:, order])
    for key in one:
        if key in MAPS:
            maps = [m.reshape(len(order), -1) for m in (one[key], other[key])]
            np.testing.assert_array_equal(maps[0][order], maps[1])
        else:
            np.testing.assert_array_equal(one[key][:, order], other[key])
    for plain, permuted in zip(*(decode(codec, [e[key] for key in case.keys]) for e in (one, other))):
        np.testing.assert_allclose(plain[:, order], permuted, rtol=1e-5, atol=1e-3)


@every_codec
@few
@given(cell=st.tuples(*[st.floats(14.1, 14.4)] * 2), shift=st.tuples(*[st.integers(-2, 2)] * 2),
       stride=STRIDES)
def test_whole_strides_move_what_is_encoded(case, cell, shift, stride):
    heatmap_size = 29, 31
    codec = case.make(tuple(a * b for a, b in zip(heatmap_size, stride)), heatmap_size)
    step = np.broadcast_to(getattr(codec, 'scale_factor', stride), 2).astype(float)
    here, there = (codec.encode((np.array(c) * step)[None, None]) for c in (cell, np.add(cell, shift)))
    inner = slice(2, -2), slice(2, -2)
    for key in here:
        a, b = here[key], there[key]
        if key in MAPS:  # what was at (y, x) is at (y + dy, x + dx)
            a, b = a[(..., *inner)], np.roll(b, np.negative(shift)[::-1], (-2, -1))[(..., *inner)]
        elif key in ROWS:
            bins = shift['xy'.index(key[9])] * step['xy'.index(key[9])] * codec.simcc_split_ratio
            if bins % 1:
                continue
            edge = abs(int(bins)) + 1
            a, b = a[..., edge:-edge], np.roll(b, -int(bins), -1)[..., edge:-edge]
        elif key in LABELS:
            b = b - shift * step / codec.input_size
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * min(case.top, 255), err_msg=key)


VALUES = st.one_of(st.floats(-1, 1, width=16), st.sampled_from([0., 1., -1., .5, 1e-30, 1e30, -1e30, 60.]))


@every_codec
@few
@given(sizes=makers(), k=st.integers(1, 3), data=st.data())
def test_finite_predictions_give_finite_results_and_a_batch_gives_the_same(case, sizes, k, data):
    codec = case.make(*sizes)
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    batch = [data.draw(hnp.arrays(dtype, (3, *shape), elements=VALUES)) for shape in empty(case, codec, k)]
    singles = [decode(codec, sample) for sample in zip(*batch)]
    for got in singles:
        assert got[0].shape == (1, k, 2) and {g.shape for g in got[1:]} == {(1, k)}
        assert all(np.isfinite(g).all() for g in got)
    several = decode(codec, [b[:, 0] for b in batch] if case.keys == ROWS else batch, 'batch_decode')
    for got, *want in zip(several, *singles):
        # all tops that are level, and steps without a slope, are left to rounding
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


@every_codec
@few
@given(sizes=makers(), seed=SEEDS, bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_prediction_of_nan_or_inf_is_lost_alone(case, sizes, seed, bad):
    codec, rng = case.make(*sizes), np.random.default_rng(seed)
    encoded = codec.encode(rng.uniform(0, np.subtract(sizes[0], 1), (1, 5, 2)))
    good = [encoded[key] for key in case.keys]
    lost = rng.random(5) < .4
    wrong = [array.copy() for array in good]
    target = wrong[rng.integers(len(wrong))]
    for j in np.flatnonzero(lost):
        own = target.reshape(5, -1)[j]  # a view of keypoint j's maps, row or fractions
        own[rng.integers(own.size) if case.keys != MAPS else rng.integers(sizes[1][0] * sizes[1][1])] = bad
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        got, want = decode(codec, wrong), decode(codec, good)
    if bad == -np.inf and case.keys != LABELS:  # may be below all others, and nothing is lost
        assert all(np.isfinite(g).all() for g in got)
    else:
        assert bool(warned) == lost.any() and all('NaN or inf' in str(w.message) for w in warned)
        np.testing.assert_allclose(got[0][0, lost], np.broadcast_to(case.start(codec), (lost.sum(), 2)),
                                   rtol=1e-5)
        assert not np.array(got[1:])[:, 0, lost].any()
    for g, w in zip(got, want):
        np.testing.assert_allclose(g[0, ~lost], w[0, ~lost], rtol=1e-4, atol=1e-3)


@every_codec
@pytest.mark.parametrize('dtype', [np.float16, np.int64, np.int32, np.uint8, bool])
def test_any_kind_of_number_will_do(case, dtype):
    codec = case.make((36, 52), (9, 13))
    points, visible = np.array([[[20, 24], [17, 31], [8, 40]]], dtype), np.array([[1, 1, 0]], dtype)
    got, want = (codec.encode(frozen(points.astype(t)), frozen(visible.astype(t))) for t in (dtype, np.float32))
    for key in want:
        assert got[key].dtype == np.float32
        np.testing.assert_allclose(got[key], want[key], atol=.01 * min(case.top, 255))
    arrays = [(want[key] * 8).astype(dtype) for key in case.keys]
    for g, w in zip(decode(codec, arrays), decode(codec, [a.astype(np.float32) for a in arrays])):
        assert np.isfinite(g).all()
        np.testing.assert_allclose(g, w, rtol=1e-5)


@every_codec
def test_check_codec_agrees(case):
    codec = case.make((72, 100), (18, 25))
    for margin, bound in case.bounds.items():
        margin = margin * case.unit(codec).max()
        report = check_codec(codec, bound * case.unit(codec), margin=margin,
                             skip=['outside'] if case.outside else [])
        assert len(report.checks) == 11 and (report.worst <= np.array(report.bound)).all()
