"""Properties of every codec and its options, over maps of any size and points anywhere."""
import re
import warnings
from dataclasses import dataclass
from functools import partial

import loops
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posebook.checks import shown
from posebook.codecs import (IntegralRegressionLabel, MegviiHeatmap, MSRAHeatmap, RegressionLabel,
                             SimCCLabel, UDPHeatmap)
from posebook.testing import check_codec

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
    # 255 at the keypoint; next to the border its mirror image makes the border higher
    'Megvii': Case(on_maps(MegviiHeatmap, kernel_size=11), MAPS, {0: 2, 2: .76, 6: .501}, top=510),
    'Megvii kernel=3': Case(on_maps(MegviiHeatmap, kernel_size=3), MAPS, {0: 2, 2: .501}, top=510),
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
STRIDES = st.sampled_from([(1, 1), (4, 4), (2, 3)])
SEEDS = st.integers(0, 2**32 - 1)
every_codec = pytest.mark.parametrize('case', CODECS.values(), ids=CODECS)
few = settings(max_examples=15)


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
    return [(1, k, int(n)) for n in (codec.bins if case.keys == ROWS else [2])]


@st.composite
def makers(draw, least=2):
    """Sizes to make a codec with; not square, odd, and small ones among them."""
    heatmap_size = draw(st.tuples(st.integers(least, 24), st.integers(least, 24)))
    return tuple(a * b for a, b in zip(heatmap_size, draw(STRIDES))), heatmap_size


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
@given(sizes=makers(), scene=people(), far=st.sampled_from([-1e3, -40., 40., 1e3]), axis=st.integers(0, 1))
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
@given(cell=st.tuples(*[st.integers(12, 16)] * 2), shift=st.tuples(*[st.integers(-2, 2)] * 2),
       stride=STRIDES)
def test_whole_strides_move_what_is_encoded(case, cell, shift, stride):
    heatmap_size = 29, 31
    codec = case.make(tuple(a * b for a, b in zip(heatmap_size, stride)), heatmap_size)
    step = np.broadcast_to(getattr(codec, 'scale_factor', stride), 2).astype(float)
    cell = np.add(cell, .115)  # nowhere near a tie between two pixels or bins
    here, there = (codec.encode((c * step)[None, None]) for c in (cell, cell + shift))
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


VALUES = [0, 0, 0, 1, -1, .5, .25, 1e-30, 1e30, -1e30, 60]


@every_codec
@few
@given(sizes=makers(least=6), k=st.integers(1, 3), seed=SEEDS, dtype=st.sampled_from([np.float32, np.float64]),
       among=st.sampled_from([1, 3, 8, 11]))
def test_finite_predictions_give_finite_results_and_a_batch_gives_the_same(case, sizes, k, seed, dtype,
                                                                           among):
    codec, rng = case.make(*sizes), np.random.default_rng(seed)
    batch = [rng.choice(VALUES[:among], (3, *shape)).astype(dtype) for shape in empty(case, codec, k)]
    for array in batch:
        array[1] += rng.random(array.shape[1:])  # one without ties
    singles = [decode(codec, sample) for sample in zip(*batch)]
    for got in singles:
        assert got[0].shape == (1, k, 2) and {g.shape for g in got[1:]} == {(1, k)}
        assert all(np.isfinite(g).all() for g in got)
    several = decode(codec, [b[:, 0] for b in batch] if case.keys == ROWS else batch, 'batch_decode')
    for got, *want in zip(several, *singles):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


@every_codec
@few
@given(sizes=makers(least=6), seed=SEEDS, bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_prediction_of_nan_or_inf_is_lost_alone(case, sizes, seed, bad):
    codec, rng = case.make(*sizes), np.random.default_rng(seed)
    encoded = codec.encode(rng.uniform(0, np.subtract(sizes[0], 1), (1, 5, 2)))
    wrong = [encoded[key].copy() for key in case.keys]
    lost = rng.random(5) < .4
    target = wrong[rng.integers(len(wrong))]
    for j in np.flatnonzero(lost):
        own = target.reshape(5, -1)[j]  # a view of keypoint j's maps, row or fractions
        own[rng.integers(own.size) if case.keys != MAPS else rng.integers(sizes[1][0] * sizes[1][1])] = bad
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        got = decode(codec, wrong)
    assert bool(warned) == lost.any() and all('NaN or inf' in str(w.message) for w in warned)
    np.testing.assert_allclose(got[0][0, lost], np.broadcast_to(case.start(codec), (lost.sum(), 2)), rtol=1e-5)
    for array in wrong:  # the rest is as if the lost had been empty
        own = array.reshape(5, -1)
        own[~np.isfinite(own).all(1)] = 0
    want = decode(codec, wrong)
    if case.keys == LABELS:  # two numbers can't be empty
        want[0][0, lost], want[1][0, lost] = -1, 0
    for g, w in zip(got, want):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_offsets_of_nan_or_inf_lose_a_keypoint(bad):
    codec = UDPHeatmap((36, 52), (9, 13), 'combined', radius_factor=.2)
    maps = codec.encode(np.array([[[20., 24], [17, 31], [8, 40]]]))['heatmaps']
    want, _ = codec.decode(maps)
    maps[4] = bad  # x offsets of the second keypoint
    with pytest.warns(RuntimeWarning, match='NaN or inf'):
        keypoints, scores = codec.decode(frozen(maps))
    np.testing.assert_allclose(keypoints[0, 1], CODECS['UDP combined'].start(codec), rtol=1e-5)
    assert scores[0, 1] == 0
    np.testing.assert_allclose(keypoints[0, ::2], want[0, ::2])


@pytest.mark.filterwarnings('error')
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


# --- errors -----------------------------------------------------------------------------------------------------

IN, OUT = (192, 256), (48, 64)
Z, nan, inf = np.zeros, float('nan'), float('inf')
msra, udp, megvii = MSRAHeatmap(IN, OUT, 2), UDPHeatmap(IN, OUT), MegviiHeatmap(IN, OUT, 11)
combined, simcc, regression = UDPHeatmap(IN, OUT, 'combined'), SimCCLabel(IN), RegressionLabel(IN)
integral, standard = IntegralRegressionLabel(IN, OUT, 2), partial(SimCCLabel, IN, 'standard')
ALL = msra, udp, combined, megvii, simcc, regression, integral
MAP_SIZE = 'heatmap_size must be (w, h), two positive whole numbers up to 4096; got '
INPUT_SIZE = 'input_size must be (w, h), two positive whole numbers up to 32766; got '
SWAPPED = 'heatmap_size must be (w, h), with the proportions of input_size; got input_size='
ODD = 'must be an odd whole number of pixels up to 4095, so that it has a middle; got '
SIGMA = 'sigma must be a number from 0.01 to 100, in heatmap pixels; got '
BINS = 'SimCCLabel: sigma must be a number from 0.01 to 1000, in bins; got '


def each(values, call, *words):
    """A row of the table for each value, which comes last in its error if the words end in a blank."""
    return [(partial(call, v), *(w + shown(v) if w.endswith('got ') else w for w in words)) for v in values]


WRONG = [  # a call, and words that its error must have
    # sizes
    (lambda: MSRAHeatmap(IN, (64, 48), 2), f'{SWAPPED}(192, 256), heatmap_size=(64, 48)', 'Did you swap w and h?'),
    (lambda: MSRAHeatmap((256, 192), OUT, 2), SWAPPED, 'Did you swap w and h?'),
    (lambda: MSRAHeatmap(IN, (56, 40), 2), 'MSRAHeatmap', SWAPPED, 'Did you swap w and h?'),
    *each([(48, 64, 1), (0, 64), (48, 10**400), 48, None], lambda v: MSRAHeatmap(IN, v, 2), 'MSRAHeatmap: ' + MAP_SIZE),
    (lambda: UDPHeatmap(IN, (64, 48)), 'UDPHeatmap', 'Did you swap w and h?'),
    (lambda: UDPHeatmap(IN, (1, 64)), 'heatmap_size must be at least (2, 2); got (1, 64)'),
    (lambda: UDPHeatmap((1, 256), OUT), 'input_size must be at least (2, 2); got (1, 256)'),
    (lambda: MegviiHeatmap(IN, (64, 48), 11), 'MegviiHeatmap', 'Did you swap w and h?'),
    (lambda: IntegralRegressionLabel(IN, (64, 48), 2), 'IntegralRegressionLabel', 'Did you swap w and h?'),
    *[row for codec in (RegressionLabel, SimCCLabel, on_maps(MSRAHeatmap, heatmap_size=OUT, sigma=2))
      for row in each([192, (192,), (192, 0), (192.5, 256), (192, 256, 3), (nan, 256), (10**9, 256), 'ab', None], codec,
                      ': ' + INPUT_SIZE)],
    # options
    *each([0, -1, nan, inf, 1e9, 1e-300, 10**400, '2', None, True, (2, 2)], lambda v: MSRAHeatmap(IN, OUT, v),
          'MSRAHeatmap: ' + SIGMA),
    *each([0, nan], lambda v: UDPHeatmap(IN, OUT, sigma=v), 'UDPHeatmap: ' + SIGMA),
    *each([0, nan], lambda v: IntegralRegressionLabel(IN, OUT, v), 'IntegralRegressionLabel: ' + SIGMA),
    *each([10, 0, -3, 11., 10**9 + 1, '11', True], lambda v: MSRAHeatmap(IN, OUT, 2, blur_kernel_size=v), 'blur_kernel_size ' + ODD),
    *each([4], lambda v: UDPHeatmap(IN, OUT, blur_kernel_size=v), 'UDPHeatmap: blur_kernel_size ' + ODD),
    *each([10], lambda v: MegviiHeatmap(IN, OUT, v), 'MegviiHeatmap: kernel_size ' + ODD),
    *each([2], lambda v: IntegralRegressionLabel(IN, OUT, 2, blur_kernel_size=v), 'blur_kernel_size ' + ODD),
    *each(['offset', None], lambda v: UDPHeatmap(IN, OUT, v),
          "UDPHeatmap: heatmap_type must be 'gaussian' or 'combined'; got "),
    *each([0, -1, nan], lambda v: UDPHeatmap(IN, OUT, radius_factor=v), "UDPHeatmap: radius_factor must be a number from 0.0001 to 100, in parts of the map's longer side; got "),
    *each(['laplace', None], lambda v: SimCCLabel(IN, v),
          "SimCCLabel: smoothing_type must be 'gaussian' or 'standard'; got "),
    *each([0, -1, nan, '6'], lambda v: SimCCLabel(IN, sigma=v), BINS),
    *each([0, nan], lambda v: SimCCLabel(IN, sigma=(6, v)), 'sigma must be a number from 0.01 to 1000, in bins; got '),
    *each([(6, 6, 6), (6,)], lambda v: SimCCLabel(IN, sigma=v), 'sigma must be one number or two', 'got '),
    *each([.3], lambda v: SimCCLabel(IN, sigma=v, use_dark=True),
          'SimCCLabel: sigma must be of 0.5 bins or more, since use_dark blurs by it; got '),
    *each([0, -2, .5, nan, inf, 1e9, '2'], lambda v: SimCCLabel(IN, simcc_split_ratio=v),
          'simcc_split_ratio must be a number from 1 to 100, in bins per input pixel; got '),
    *each([1, -.1, nan, 'a'], lambda v: standard(label_smooth_weight=v),
          'SimCCLabel: label_smooth_weight must be a number of at least 0 and below 1; got '),
    (lambda: SimCCLabel(IN, label_smooth_weight=.1), "label_smooth_weight must be 0 unless smoothing_type='standard'; got 0.1. The bump's width is sigma."),
    *each([0, nan], lambda v: SimCCLabel(IN, decode_beta=v), 'SimCCLabel: decode_beta must be a number of at most 1000000.0 and above 0; got '),
    *each(['yes', None, 2], lambda v: MSRAHeatmap(IN, OUT, 2, unbiased=v), 'MSRAHeatmap: unbiased must be True or False'),
    *each(['yes', None, 2], lambda v: IntegralRegressionLabel(IN, OUT, 2, normalize=v),
          'IntegralRegressionLabel: normalize must be True or False; got '),
    *[row for name in ('normalize', 'use_dark', 'decode_visibility')
      for row in each(['yes', None, 2], lambda v, name=name: SimCCLabel(IN, **{name: v}),
                      f'SimCCLabel: {name} must be True or False; got ')],
    # encode
    *each(ALL, lambda v: v.encode(Z((17, 2))), 'keypoints must be (N, K, 2); got (17, 2)', 'keypoints[None]'),
    *each(ALL, lambda v: v.encode(Z((1, 17, 3))), 'keypoints must be (N, K, 2); got (1, 17, 3)'),
    *[row for codec in ALL
      for row in each([(17,), (17, 1), (1, 17, 3)], lambda v, codec=codec: codec.encode(Z((1, 17, 2)), Z(v)),
                      'keypoints_visible must be (N, K) = (1, 17); got ')],
    *each(ALL, lambda v: v.encode(Z((1, 17, 2)), Z((1, 17, 2))), 'must be (N, K) = (1, 17); got (1, 17, 2). Take [..., 0]'),
    # decode
    *each([msra, udp, megvii], lambda v: v.decode(Z((17, 48, 64))),
          'encoded must be maps (K, h, w) with h, w = 64, 48; got (17, 48, 64)', 'Did you swap w and h?'),
    *each([(64, 48), ()], lambda v: msra.decode(Z(v)), 'maps (K, h, w) with h, w = 64, 48; got '),
    *each([(1, 17, 64, 48)], lambda v: msra.decode(Z(v)), 'got ', 'Use batch_decode for a batch'),
    *each([(17, 64, 48)], lambda v: msra.batch_decode(Z(v)), 'batch_encoded must be maps (B, K, h, w)', 'got '),
    *each([(2, 17, 48, 64)], lambda v: msra.batch_decode(Z(v)), 'got ', 'Did you swap w and h?'),
    *each([(17, 64, 48)], lambda v: combined.decode(Z(v)), 'got ', '3 maps for each keypoint'),
    (lambda: simcc.decode(Z((1, 17, 512)), Z((1, 17, 384))), 'SimCCLabel: simcc_x and simcc_y must be (N, K, 384) and (N, K, 512)',
     'got (1, 17, 512) and (1, 17, 384)', 'Did you swap simcc_x and simcc_y?'),
    (lambda: simcc.decode(Z((1, 17, 384)), Z((1, 16, 512))), 'got (1, 17, 384) and (1, 16, 512)'),
    (lambda: simcc.decode(Z((1, 17, 0)), Z((1, 17, 256))), 'got (1, 17, 0) and (1, 17, 256)'),
    *each([(0, 17, 64, 0), (0, 0, 0, 0)], lambda v: msra.batch_decode(Z(v)), 'MSRAHeatmap: batch_encoded must be maps', 'got '),
    (lambda: simcc.decode(Z((2, 1, 17, 384)), Z((2, 1, 17, 512))), 'SimCCLabel: simcc_x and simcc_y must be (N, K, 384) and (N, K, 512)'),
    (lambda: simcc.batch_decode(Z((17, 384)), Z((17, 512))), 'must be (B, K, 384) and (B, K, 512); got (17, 384) and (17, 512)'),
    *each([(17, 2), (1, 17, 3)], lambda v: regression.decode(Z(v)), 'RegressionLabel: encoded must be (N, K, 2), x and y, or (N, K, 4)',
          'standard deviations; got '),
    *each([(1, 17, 2)], lambda v: regression.batch_decode(Z(v)), 'batch_encoded must be (B, N, K, 2)', 'got '),
    *each([(17, 64, 48)], lambda v: integral.decode(Z(v)), 'IntegralRegressionLabel: encoded must be (N, K, 2)', 'got '),
    # the test kit
    *each([MSRAHeatmap, 3], check_codec, 'codec must be an object with encode and decode; got '),
    (lambda: check_codec(MSRAHeatmap), 'Build it first: MSRAHeatmap(...)'),
    *each([100], lambda v: check_codec(msra, margin=v), 'room left inside the input of (192, 256); got '),
    *each([-1, nan, 'x'], lambda v: check_codec(msra, margin=v), 'check_codec: margin must be a number of at least 0; got '),
    (lambda: check_codec(msra, decode_keys='maps'), "items ['heatmaps', 'keypoint_weights']; got ('maps',)"),
    *each([0, (17,), 'x'], lambda v: check_codec(msra, num_keypoints=v), 'check_codec: num_keypoints must be'),
    *each([-1, (1, 2, 3), 'x', ('1', 2)], lambda v: check_codec(msra, v), 'check_codec: bound must be'),
    *each(['NaN', ['nan']], lambda v: check_codec(msra, skip=v),
          "check_codec: skip must be a list of names out of ['untouched'", 'got ')]


@pytest.mark.parametrize('call, words', [(call, words) for call, *words in WRONG])
def test_a_wrong_call_says_what_came_and_what_is_wanted(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


# --- check_codec ------------------------------------------------------------------------------------------------

class Broken(MSRAHeatmap):
    """A codec that keeps its word, until some methods are replaced by those that break it."""

    def encode(self, keypoints, keypoints_visible=None):
        return self.make(keypoints, keypoints_visible)

    def make(self, keypoints, visible):
        return super().encode(keypoints, visible)


def made(**change):
    """`make`, with some items changed by functions of all items and the keypoints."""
    def make(self, keypoints, visible):
        items = MSRAHeatmap.encode(self, keypoints, visible)
        return {**items, **{key: function(items, keypoints) for key, function in change.items()}}
    return dict(make=make)


def made_of(change):
    """`make`, of keypoints and visibility that a function changes."""
    return dict(make=lambda self, keypoints, visible: MSRAHeatmap.encode(self, *change(keypoints, visible)))


def located(change):
    """`locate`, with keypoints and scores changed by a function."""
    return dict(locate=lambda self, maps: change(*MSRAHeatmap.locate(self, maps)))


def add_in_place(keypoints, visible):
    keypoints += .25
    return keypoints, visible


def repair_in_place(keypoints, visible):
    keypoints[np.isnan(keypoints)] = -1e7
    return keypoints, visible


def clip_in_place(self, maps):
    maps[maps < .1] = 0
    return MSRAHeatmap.decode(self, maps)


def cache(self, keypoints, visible):
    shared = self.__dict__.setdefault('cache', {})
    key = keypoints.tobytes()
    shared[key] = shared.get(key) or MSRAHeatmap.encode(self, keypoints, visible)
    return shared[key]


def is_nan(keypoints):
    return np.float32(np.isnan(keypoints).any(-1))


BROKEN = [  # what is replaced, the check that finds it, and words that it says
    (made_of(add_in_place), 'untouched', 'it wrote into keypoints'),
    (dict(decode=clip_in_place), 'untouched', 'it wrote into heatmaps'),
    (dict(make=cache), 'untouched', 'Is a cached array handed out?'),
    (dict(make=lambda *args: None), 'untouched', 'NoneType'),
    (dict(make=lambda *args: 1 / 0), 'untouched', 'ZeroDivisionError: division by zero'),
    (made(mask=lambda items, keypoints: [0]), 'untouched', "{'mask': 'list'}"),
    (dict(decode=lambda self, maps: Z((1, 17, 2))), 'untouched', 'two things, (keypoints, scores)'),
    (made(heatmaps=lambda items, keypoints: items['heatmaps'].astype(float)), 'shapes', 'heatmaps is float64'),
    (made(keypoint_weights=lambda items, keypoints: items['keypoint_weights'][0]), 'shapes', 'keypoint_weights (17,)'),
    (dict(decode=lambda self, maps: self.locate(maps)), 'shapes', 'keypoints (17, 2), scores (17,)'),
    (located(lambda keypoints, scores: (keypoints, scores * nan)), 'shapes', 'NaN or inf'),
    (made_of(lambda k, v: (k, Z((1, 17)) if v is None else v)), 'shapes', 'without keypoints_visible'),
    (dict(label_mapping_table=dict(weights='keypoint_weights')), 'tables', "label_mapping_table['weights']"),
    (dict(field_mapping_table={}), 'tables', "'heatmaps' in label_mapping_table"),
    (located(lambda keypoints, scores: (keypoints[..., ::-1], scores)), 'round trip', 'Are x and y swapped?'),
    (located(lambda keypoints, scores: (keypoints + (0, 1.1), scores)), 'round trip', 'px off along y'),
    (made_of(lambda keypoints, visible: (keypoints, None)), 'invisible', 'with visibility 0'),
    (made(keypoint_weights=lambda items, k: 0 * items['keypoint_weights']), 'invisible', 'with visibility 1'),
    (made(keypoint_weights=lambda items, k: np.maximum(items['keypoint_weights'], np.float32(k[..., 0] > 1e3))),
     'outside', 'far outside, at (2112, 128)'),
    (dict(batch_decode=lambda self, maps: self.decode(maps[0])), 'batch', '1 keypoints'),
    (dict(batch_decode=lambda self, maps: [a[::-1] for a in MSRAHeatmap.batch_decode(self, maps)]), 'batch',
     'keypoints of sample 0'),
    (made_of(lambda keypoints, visible: (keypoints + 0 * keypoints[0], visible)), 'sizes', 'encode of nobody'),
    (made_of(lambda keypoints, visible: (keypoints + 0 * keypoints[:, 1:2], visible)), 'sizes', 'a single keypoint'),
    (made_of(repair_in_place), 'NaN', 'it wrote into keypoints'),
    (made(heatmaps=lambda items, k: items['heatmaps'] * (1 - is_nan(k).max(initial=0) / 2)), 'NaN', 'others changed'),
    (made(keypoint_weights=lambda items, k: items['keypoint_weights'] + is_nan(k)), 'NaN', '0, and 1 for all others'),
    (made(heatmaps=lambda items, k: items['heatmaps'] + (nan if is_nan(k).any() else np.float32(0))), 'NaN',
     'heatmaps with NaN or inf'),
    (located(lambda keypoints, scores: (keypoints, scores * np.linspace(.5, 1, scores.shape[-1]))), 'order',
     'other scores than in the order 0, 1, 2'),
    (dict(decode=lambda self, maps: MSRAHeatmap.decode(self, np.resize(maps, (len(maps), 64, 48)))), 'errors',
     'no error, and a tuple'),
    (made_of(lambda keypoints, visible: (keypoints.reshape(-1, *keypoints.shape[-2:]), visible)), 'errors',
     'encode of keypoints (17, 2) without people')]


@pytest.mark.parametrize('methods, check, words', BROKEN, ids=[words for *_, words in BROKEN])
@pytest.mark.filterwarnings('ignore')
def test_check_codec_finds_the_broken_promise(methods, check, words):
    codec = type('Broken', (Broken,), methods)(IN, OUT, 2)
    with pytest.raises(AssertionError) as error:
        check_codec(codec, 3)
    assert f'Broken fails {check!r}: tried' in str(error.value) and words in str(error.value)
    assert '\n  got:' in str(error.value) and '\n  wanted:' in str(error.value)


def test_check_codec_reports_and_takes_any_object():
    assert str(check_codec(Broken(IN, OUT, 2), 3)).startswith('Broken(input_size=(192, 256)')

    class Plain:
        """No base class, no input_size, no batch_decode, and an item that nobody knows."""

        label_mapping_table = dict(rings='rings', keypoint_weights='keypoint_weights')

        def encode(self, keypoints, keypoints_visible=None):
            encoded = regression.encode(keypoints, keypoints_visible)
            return dict(rings=encoded['keypoint_labels'] * 2, keypoint_weights=encoded['keypoint_weights'])

        def decode(self, rings):
            return regression.decode(rings / 2)

    with pytest.raises(ValueError, match=re.escape('input_size=(192, 256)')):
        check_codec(Plain())
    report = check_codec(Plain(), (.001, .002), input_size=IN, num_keypoints=5, skip=['order'])
    assert report.bound == (.001, .002) and report.checks['batch'] == 'there is no batch_decode'
    assert 'rings (1, 5, 2)' in str(report) and '10 checks passed' in str(report)
    assert report.checks['order'] == 'left out'


# --- the same numbers as loops over keypoints -------------------------------------------------------------------

@given(makers(), people(), st.integers(1, 4))
def test_encode_draws_what_the_loop_draws(sizes, scene, sigma):
    codec, (points, visible) = MSRAHeatmap(*sizes, sigma=sigma), scene
    points = points * np.array(sizes[0], points.dtype)
    got, want = codec.encode(points, visible), loops.encode_by_loop(codec, points, visible)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=1e-6, err_msg=name)


@given(SEEDS, st.sampled_from([3, 7, 11]))
def test_dark_decodes_what_the_loop_decodes(seed, kernel):
    rng = np.random.default_rng(seed)
    codec = MSRAHeatmap((96, 128), (24, 32), 2, unbiased=True, blur_kernel_size=kernel)
    heatmaps = codec.encode(rng.uniform(-8, (104, 136), (1, 6, 2)))['heatmaps']
    heatmaps = np.maximum(heatmaps + rng.normal(0, .02, heatmaps.shape), .001).astype(np.float32)
    for got, want in zip(codec.decode(heatmaps), loops.decode_by_loop(codec, heatmaps)):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize('codec', [msra, udp, megvii], ids=lambda c: type(c).__name__)
def test_maps_of_another_size_are_decoded_with_a_warning(codec):
    maps = np.zeros((17, 80, 56), np.float32)  # the codec's are 64 high, 48 wide
    maps[:, 70, 50] = 1
    with pytest.warns(UserWarning, match=r'h, w = 64, 48; got \(17, 80, 56\)'):
        keypoints, _ = codec.decode(maps)
    assert np.abs(keypoints[0, 0] / codec.scale_factor - (50, 70)).max() < 2
