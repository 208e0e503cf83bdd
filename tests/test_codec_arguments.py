"""Arguments of every kind for every codec: an error of the house's form, or a right result, and nothing silent."""
import inspect
import re
import subprocess
import sys
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posebook.codecs import (IntegralRegressionLabel, MegviiHeatmap, MSRAHeatmap, RegressionLabel, SimCCLabel,
                             UDPHeatmap)
from posebook.codecs.base import codec_presets, guess_decode_keys, writers_of
from posebook.codecs.utils import refine_keypoints_dark, refine_keypoints_dark_udp, refine_simcc_dark
from posebook.registry import KEYPOINT_CODECS

IN, OUT = (192, 256), (48, 64)
CODECS = {
    'MSRA': MSRAHeatmap(IN, OUT, 2), 'DARK': MSRAHeatmap(IN, OUT, 2, unbiased=True), 'UDP': UDPHeatmap(IN, OUT),
    'UDP combined': UDPHeatmap(IN, OUT, 'combined'), 'Megvii': MegviiHeatmap(IN, OUT, 11), 'SimCC': SimCCLabel(IN),
    'SimCC standard': SimCCLabel(IN, 'standard', label_smooth_weight=.1), 'SimCC DARK': SimCCLabel(IN, use_dark=True),
    'SimCC visibility': SimCCLabel(IN, decode_visibility=True), 'Regression': RegressionLabel(IN),
    'Integral': IntegralRegressionLabel(IN, OUT, 2)}
every_codec = pytest.mark.parametrize('codec', CODECS.values(), ids=CODECS)
KEYPOINTS = np.array([[[10, 20], [100., 200], [191, 255]]])
REQUIRED = dict(input_size=IN, heatmap_size=OUT, sigma=2, kernel_size=11)
OURS = re.compile('they are given up|all the same')  # what codecs warn of


def judged(codec, call, *args):
    """The result, and what was warned of; None where it was refused in the house's form, by name."""
    name = codec.__name__ if isinstance(codec, type) else type(codec).__name__
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        try:
            result = call(*args)
        except ValueError as error:
            assert re.match(rf'{name}: \w.* must be .*; got ', str(error)), error
            return None
    assert all(OURS.search(str(w.message)) for w in said), [str(w.message) for w in said]
    return result, said


def all_finite(encoded):
    for key, item in encoded.items():
        assert item.dtype == np.float32 and np.isfinite(item).all(), key
    assert (encoded['keypoint_weights'] >= 0).all()
    return encoded


def decoded(result):
    """All arrays of a result of `decode`, which must be finite."""
    (keypoints, scores), _ = result
    arrays = [keypoints, *(scores if isinstance(scores, tuple) else [scores])]
    assert all(np.isfinite(a).all() for a in arrays)
    return arrays


def predictions(codec):
    encoded = codec.encode(KEYPOINTS)
    return [encoded[key] for key in codec.decode_keys]


def in_a_batch(codec, arrays):
    return arrays if isinstance(codec, SimCCLabel) else [a[None] for a in arrays]


# --- constructors -----------------------------------------------------------------------------------------------

ODD = [None, 'x', '3', b'3', True, False, float('nan'), float('inf'), -float('inf'), 1e300, -1e300, 1e-300, 10**400,
       -1, 0, 3, 2.5, 2**31, 2**63, 1 + 2j, (), [], {}, {1: 2}, {192, 256}, object(), int, range(3), [[1, 2], [3]],
       [None, None], ('192', '256'), (True, 256), (1, 2, 3), ((1, 2), (3, 4)), np.zeros(()), np.zeros(0), np.array(6.),
       np.array(['a']), np.array([1j, 2j]), np.array([None, 1]), np.float16(3), np.uint8(3), np.int64(11), np.bool_(True),
       np.float32([192, 256]), np.array([[192, 256]]), torch.tensor(3.), torch.zeros(2, requires_grad=True),
       Fraction(5, 2), Decimal(3), np.datetime64('2020')]


@pytest.mark.parametrize('cls', sorted({type(c) for c in CODECS.values()}, key=lambda c: c.__name__))
def test_constructors_refuse_by_name_or_make_a_codec_that_works(cls):
    parameters = inspect.signature(cls).parameters
    required = {k: v for k, v in REQUIRED.items() if k in parameters and parameters[k].default is inspect.Parameter.empty}
    for name in parameters:
        for value in ODD:
            made = judged(cls, lambda: cls(**{**required, name: value}))  # noqa: B023
            if made is not None:
                codec = made[0]
                assert repr(codec).startswith(cls.__name__)
                encoded = all_finite(judged(codec, codec.encode, KEYPOINTS)[0])
                decoded(judged(codec, codec.decode, *[encoded[key] for key in codec.decode_keys]))


@pytest.mark.parametrize('make', [lambda s: MSRAHeatmap(*s, 2), lambda s: MegviiHeatmap(*s, 11),
                                  lambda s: IntegralRegressionLabel(*s, 2), lambda s: UDPHeatmap(*s)])
def test_sizes_need_not_divide(make):
    codec = make(((192, 256), (40, 56)))
    heatmaps = getattr(codec, 'heatmap_codec', codec)
    less = heatmaps.use_udp
    np.testing.assert_allclose(heatmaps.scale_factor, [(192 - less) / (40 - less), (256 - less) / (56 - less)], rtol=1e-6)
    points = np.array([[[20., 30], [96, 128], [170, 220]]])
    encoded = codec.encode(points)
    assert encoded['heatmaps'].shape == (3, 56, 40) and (encoded['keypoint_weights'] == 1).all()
    found, _ = codec.decode(*[encoded[key] for key in codec.decode_keys])
    assert np.abs(found / codec.decoded_scale - points).max() < 4.8
    for swapped in ((56, 40), (64, 48)):
        with pytest.raises(ValueError, match='Did you swap w and h'):
            make(((192, 256), swapped))


# --- encode -----------------------------------------------------------------------------------------------------

def points(dtype, value=7):
    return np.full((1, 3, 2), value, dtype)


SAME = [points(t) for t in (float, np.float16, np.longdouble, np.uint8, np.int64)] + [
    points(float).tolist(), ((((7, 7),) * 3),), torch.full((1, 3, 2), 7.), np.full((1, 6, 4), 7.)[:, ::2, ::2],
    np.asfortranarray(points(float))]  # all of them (7, 7) three times
NOWHERE = [points(float, v) for v in (np.nan, np.inf, -np.inf, 1e36, -1e300)] + [
    points(np.longdouble, np.longdouble('1e4000')), points(np.int64, 10**18)]
NO_KEYPOINTS = [None, 'x', 3, 3., True, [], [[]], {}, object(), [[[1, 2], [3]]], [[['1', '2']]], [[[None, 2]]],
                np.zeros((3, 2)), np.zeros((1, 3, 3)), np.zeros((1, 3, 1)), np.zeros((1, 3, 0)), np.zeros((1, 1, 3, 2)),
                points(complex), points(object), points('M8[s]'), points('m8[s]'), points('U3'), np.ones((2, 2)),
                torch.ones(1, 3, 2, requires_grad=True), torch.ones(1, 3, 2, dtype=torch.bfloat16), iter([1])]
NO_VISIBILITY = ['x', 3, True, {}, [[1, 1]], [[1, 1], [1]], [['1', '1', '1']], [[None, 1, 1]], np.ones(3), np.ones((1, 3, 1)),
                 np.ones((1, 3, 2)), np.ones((1, 3), complex), np.ones((1, 3), object), torch.ones(1, 3, requires_grad=True)]


@every_codec
def test_encode_takes_numbers_in_any_array_and_refuses_the_rest(codec):
    want = codec.encode(points(np.float32))
    for given_points in SAME:
        got = all_finite(judged(codec, codec.encode, given_points)[0])
        for key in want:
            np.testing.assert_allclose(got[key], want[key], atol=1e-6, err_msg=str(type(given_points)))
    hidden = codec.encode(points(np.float32), np.zeros((1, 3)))
    for given_points in NOWHERE:
        got = all_finite(judged(codec, codec.encode, given_points)[0])
        assert not got['keypoint_weights'].any()
        for key in set(want) - {'keypoint_labels'}:
            np.testing.assert_array_equal(got[key], hidden[key])
    for wrong in NO_KEYPOINTS:
        assert judged(codec, codec.encode, wrong) is None, wrong
    for shape in ((0, 3, 2), (2, 0, 2)):
        encoded = all_finite(judged(codec, codec.encode, np.zeros(shape))[0])
        assert encoded['keypoint_weights'].shape == shape[:2]


@every_codec
def test_encode_takes_any_visibility_that_is_numbers(codec):
    want = codec.encode(KEYPOINTS, np.float32([[1, 0, 1]]))
    for visible in ([[1, 0, 1]], np.uint8([[1, 0, 1]]), np.bool_([[1, 0, 1]]), np.float16([[1, 0, 1]]),
                    torch.tensor([[1, 0, 1]]), [[1, -1, 1]], [[1, np.nan, 1]], [[1, 1e36, 1]], [[1, -1e300, 1]],
                    [[1, np.inf, 1]]):
        got = all_finite(judged(codec, codec.encode, KEYPOINTS, visible)[0])
        for key in want:
            np.testing.assert_array_equal(got[key], want[key], err_msg=f'{key} of {visible}')
    for wrong in NO_VISIBILITY:
        assert judged(codec, codec.encode, KEYPOINTS, wrong) is None, wrong


# --- decode -----------------------------------------------------------------------------------------------------

NO_PREDICTION = [None, 'abc', 3, np.array(1.), object(), {}, [], [[1, 2], [3]], [[['1']]], [[[None]]]]


@every_codec
def test_decode_takes_lists_views_and_other_types(codec):
    single = predictions(codec)
    batch = in_a_batch(codec, single)
    for method, arrays in ((codec.decode, single), (codec.batch_decode, batch)):
        want = decoded(judged(codec, method, *arrays))
        for change in (np.ndarray.tolist, torch.tensor, np.asfortranarray, lambda a: np.repeat(a, 2, -1)[..., ::2],
                       lambda a: a.astype(float), lambda a: a.astype(np.longdouble)):
            for got, wanted in zip(decoded(judged(codec, method, *map(change, arrays))), want):
                # Megvii's neighbours are equal here, and the rounding of a type decides between them
                np.testing.assert_allclose(got, wanted, atol=1.01 if 'Megvii' in repr(codec) else 1e-4)
        for wrong in NO_PREDICTION:
            for place in range(len(arrays)):  # the others are right
                assert judged(codec, method, *[wrong if i == place else a for i, a in enumerate(arrays)]) is None, wrong
        for dtype in (complex, object, 'U8', 'M8[s]', 'm8[s]'):
            assert judged(codec, method, *[np.zeros(a.shape, dtype) for a in arrays]) is None, dtype
        for change in (np.ravel, lambda a: a[None, None], lambda a: a[..., :0]):
            assert judged(codec, method, *map(change, arrays)) is None


@every_codec
def test_an_empty_batch_gives_empty_results(codec):
    nobody = [np.zeros((0, *a.shape[-3 + 2 * isinstance(codec, SimCCLabel):]), np.float32) for a in predictions(codec)]
    if isinstance(codec, SimCCLabel):
        nobody = [a[:0] for a in predictions(codec)]
    arrays = decoded(judged(codec, codec.batch_decode, *nobody))
    assert arrays[0].shape == (0, 1, 3, 2) and all(a.shape == (0, 1, 3) for a in arrays[1:])
    no_joint = [a[:0] if 'heatmaps' in codec.decode_keys else a[:, :0] for a in predictions(codec)]
    assert decoded(judged(codec, codec.decode, *no_joint))[0].shape == (1, 0, 2)
    assert decoded(judged(codec, codec.batch_decode, *in_a_batch(codec, no_joint)))[0].shape == (1, 1, 0, 2)
    one = codec.encode(KEYPOINTS[:, :1])
    assert decoded(judged(codec, codec.decode, *[one[key] for key in codec.decode_keys]))[0].shape == (1, 1, 2)


def test_the_tools_take_empty_batches_too():
    for refine in (refine_keypoints_dark, refine_keypoints_dark_udp):
        assert refine(np.zeros((0, 17, 2), np.float32), np.zeros((0, 17, 64, 48), np.float32)).shape == (0, 17, 2)
        assert refine(np.zeros((4, 0, 2), np.float32), np.zeros((4, 0, 64, 48), np.float32)).shape == (4, 0, 2)
    assert refine_simcc_dark(np.zeros((0, 17), np.float32), np.zeros((0, 17, 384), np.float32), 37).shape == (0, 17)


@every_codec
@pytest.mark.parametrize('scale', [1e30, 1e36, 1e37, 3e38])
def test_large_numbers_give_right_results_or_are_said(codec, scale):
    """What is as large as `scale` is found where it is, or given up with a warning: never in silence."""
    single = predictions(codec)
    large = [np.float32(a.astype(float) * (scale / float(np.abs(a).max()))) for a in single]
    result = judged(codec, codec.decode, *large)
    (keypoints, *scores), warned = decoded(result), result[1]
    if warned:
        assert any((s[0] == 0).any() for s in scores)
    elif codec.decode_keys != ('keypoint_labels',) and 'combined' not in repr(codec):  # those say how far, not how sure
        np.testing.assert_allclose(keypoints, codec.decode(*single)[0], atol=9)  # as high as it is, the peak stays
    for dtype, value in ((np.float32, 3e38), (np.float32, -3e38), (np.float64, 1e308), (np.float64, -1e308)):
        decoded(judged(codec, codec.decode, *[np.full(a.shape, value, dtype) for a in single]))


@every_codec
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_finite_floats_are_decoded_to_finite_numbers(codec, data):
    width = data.draw(st.sampled_from([32, 64]))
    floats = st.floats(width=width, allow_nan=False, allow_infinity=False)
    arrays = []
    for a in predictions(codec):
        values = data.draw(hnp.arrays(f'f{width // 8}', 6, elements=floats))
        places = data.draw(hnp.arrays(np.int64, a.shape[-2:] if a.ndim == 3 else a.shape, elements=st.integers(0, 5),
                                      fill=st.integers(0, 5)))
        arrays.append(np.broadcast_to(values[places], a.shape))
    decoded(judged(codec, codec.decode, *arrays))


@pytest.mark.parametrize('lengths', [(192, 256), (400, 512), (384, 1)])
@pytest.mark.parametrize('options', [{}, dict(use_dark=True, decode_visibility=True)])
def test_rows_of_another_length_are_decoded_with_a_warning(lengths, options):
    codec, rows = SimCCLabel(IN, **options), [np.zeros((1, 2, n), np.float32) for n in lengths]
    rows[0][:, :, 7], rows[1][:, :, 0] = 1, 1
    with pytest.warns(UserWarning, match=r'should be \(N, K, 384\) and \(N, K, 512\); got .* all the same'):
        keypoints, _ = codec.decode(*rows)
    np.testing.assert_allclose(keypoints[..., 0], 3.5, atol=.5)


def test_combined_maps_of_another_size_are_decoded_with_a_warning():
    codec, larger = UDPHeatmap(IN, OUT, 'combined'), UDPHeatmap((224, 288), (56, 72), 'combined', radius_factor=3.5 / 72)
    maps = larger.encode(np.array([[[100., 200]]]))['heatmaps']
    with pytest.warns(UserWarning, match=r'got \(3, 72, 56\)'):
        found, _ = codec.decode(maps)
    np.testing.assert_allclose(found[0, 0] / codec._stretch, np.array([100, 200]) / larger.scale_factor, atol=.01)


# --- who writes what --------------------------------------------------------------------------------------------

def test_the_registry_knows_who_writes_what():
    everybody = {type(c).__name__ for c in CODECS.values()}
    assert everybody <= set(writers_of('keypoint_weights'))
    assert {'MSRAHeatmap', 'UDPHeatmap', 'MegviiHeatmap', 'IntegralRegressionLabel'} == everybody & set(writers_of('heatmaps'))
    assert {'RegressionLabel', 'IntegralRegressionLabel'} == everybody & set(writers_of('keypoint_labels'))
    assert ['SimCCLabel'] == writers_of('keypoint_x_labels') == writers_of('keypoint_y_labels')
    assert writers_of('no such target') == []


def test_a_new_codec_is_found_by_registering_it():
    class Rings(RegressionLabel):
        label_mapping_table = dict(rings='gt_rings')
        presets = {'Rings': {}}

    KEYPOINT_CODECS.register_module(module=Rings)
    try:
        assert writers_of('gt_rings') == ['Rings'] and writers_of('rings') == []
        assert codec_presets()['Rings'] == dict(type='Rings')
    finally:
        del KEYPOINT_CODECS.module_dict['Rings']


@pytest.mark.parametrize('name', codec_presets())
def test_presets_can_be_built_and_say_what_decode_takes(name):
    config = codec_presets()[name]
    wanted = inspect.signature(KEYPOINT_CODECS.get(config['type'])).parameters
    codec = KEYPOINT_CODECS.build({**{k: v for k, v in REQUIRED.items() if k.endswith('size') and 'kernel' not in k
                                      and k in wanted}, **config})
    encoded = codec.encode(np.array([[[100., 200]]]))
    assert guess_decode_keys(encoded) == guess_decode_keys(encoded, codec) == codec.decode_keys
    for key, height in zip(codec.decode_keys, codec.target_heights, strict=True):
        if key != 'keypoint_labels':
            assert abs(encoded[key][0].max() - height) < .05 * height  # of combined maps, the disc's


# --- old paths and imports --------------------------------------------------------------------------------------

def test_old_paths_are_found_with_a_warning():
    import posebook.codecs
    from posebook.codecs import base
    from posebook.testing import check_codec
    with pytest.warns(DeprecationWarning, match='posebook.testing'):
        assert posebook.codecs.check_codec is check_codec
    with pytest.warns(DeprecationWarning, match='posebook.checks.size_wh'):
        assert base.check_size('Mine', 'input_size', [192, 256]) == (192, 256)
    with pytest.warns(DeprecationWarning, match='posebook.checks.number'):
        assert base.check_above_0('Mine', 'sigma', 2, 'pixels') == 2
    with pytest.warns(DeprecationWarning, match='odd_width'), pytest.raises(ValueError, match='Mine: kernel must be an odd'):
        base.check_odd('Mine', 'kernel', 4)
    with pytest.raises(AttributeError, match='no attribute'):
        posebook.codecs.no_such_codec
    with pytest.raises(AttributeError, match='no attribute'):
        base.no_such_check


def test_importing_codecs_loads_numpy_and_opencv_at_most():
    script = ('import sys; import posebook.codecs, posebook.codecs.utils; heavy = {"torch", "torchvision", "matplotlib", '
              '"IPython", "ipywidgets", "scipy", "pycocotools", "posebook.testing", "posebook.models", "posebook.datasets"}; '
              'print(sorted(heavy & set(sys.modules)))')
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout == '[]\n'
