"""The codecs against the same work done one keypoint at a time (chapter 904 explains the difference).

    pytest -s tests/benchmarks/test_codec_speed.py            prints the ratios

Values are compared before anything is timed.
"""
import cv2
import loops
import numpy as np
import pytest

from posebook.codecs import (IntegralRegressionLabel, MegviiHeatmap, MSRAHeatmap, RegressionLabel, SimCCLabel,
                             UDPHeatmap)
from timing import print_ratio

pytestmark = pytest.mark.speed

SIZES = dict(input_size=(192, 256), heatmap_size=(48, 64))
CODECS = {'MSRA': MSRAHeatmap(**SIZES, sigma=2), 'DARK': MSRAHeatmap(**SIZES, sigma=2, unbiased=True),
          'UDP': UDPHeatmap(**SIZES, sigma=2), 'Megvii': MegviiHeatmap(**SIZES, kernel_size=11),
          'SimCC': SimCCLabel((192, 256), sigma=6, simcc_split_ratio=2)}
ENCODE_LOOPS = {'MSRA': loops.encode_by_loop, 'DARK': loops.encode_dark_by_loop, 'UDP': loops.encode_udp_by_loop,
                'Megvii': loops.encode_megvii_by_loop, 'SimCC': loops.encode_simcc_by_loop}
DECODE_LOOPS = {'DARK': loops.decode_by_loop, 'UDP': loops.decode_udp_by_loop}
BATCH_CODECS = dict(CODECS, **{
    'UDP combined': UDPHeatmap(**SIZES, heatmap_type='combined'),
    'SimCC, DARK': SimCCLabel((192, 256), sigma=6, simcc_split_ratio=2, use_dark=True),
    'SimCC standard': SimCCLabel((192, 256), smoothing_type='standard', label_smooth_weight=.1),
    'regression': RegressionLabel((192, 256)), 'integral': IntegralRegressionLabel(**SIZES, sigma=2)})


@pytest.fixture(autouse=True)
def one_thread():
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one core against one core
    yield
    cv2.setNumThreads(threads)


@pytest.fixture(scope='module')
def scene():
    rng = np.random.default_rng(0)
    return rng.uniform([0, 0], [191, 255], (1, 17, 2)).astype(np.float32), np.ones((1, 17), np.float32)


@pytest.mark.parametrize('name', ENCODE_LOOPS)
def test_encode_beside_a_loop(name, scene):
    codec, loop = CODECS[name], ENCODE_LOOPS[name]
    want, got = loop(codec, *scene), codec.encode(*scene)
    for key in want:
        np.testing.assert_allclose(got[key], want[key], atol=3e-6 * max(1, want[key].max()), err_msg=key)
    print_ratio(f'{name} encode, loop / codec', lambda: loop(codec, *scene), lambda: codec.encode(*scene))


@pytest.mark.parametrize('name', DECODE_LOOPS)
def test_decode_beside_a_loop(name, scene):
    codec, loop = CODECS[name], DECODE_LOOPS[name]
    heatmaps = codec.encode(*scene)['heatmaps']
    for got, want in zip(codec.decode(heatmaps), loop(codec, heatmaps)):
        np.testing.assert_allclose(got, want, atol=1e-3)
    print_ratio(f'{name} decode, loop / codec', lambda: loop(codec, heatmaps), lambda: codec.decode(heatmaps))


def predictions(codec, scene):
    """What a perfect network predicts for one person: the arguments of `decode`."""
    encoded = codec.encode(*scene)
    keys = [k for k in ('keypoint_x_labels', 'keypoint_y_labels', 'keypoint_labels', 'heatmaps') if k in encoded]
    return [encoded[k] for k in (keys[:2] if 'keypoint_x_labels' in keys else keys[:1])]


@pytest.mark.parametrize('name', BATCH_CODECS)
def test_a_batch_of_64_beside_64_alone(name, scene):
    codec = BATCH_CODECS[name]
    single = predictions(codec, scene)
    batch = [np.repeat(a if isinstance(codec, SimCCLabel) else a[None], 64, axis=0) for a in single]
    for one, many in zip(codec.decode(*single), codec.batch_decode(*batch)):
        np.testing.assert_allclose(many, np.repeat(one[None], 64, axis=0), atol=1e-4)
    print_ratio(f'{name}, 64 alone / a batch of 64', lambda: [codec.decode(*single) for _ in range(64)],
                lambda: codec.batch_decode(*batch), rounds=12, calls=1)


@pytest.mark.parametrize('how', ['codec', 'loop'])
@pytest.mark.parametrize('name', ENCODE_LOOPS)
def test_encode(benchmark, scene, name, how):
    codec, loop = CODECS[name], ENCODE_LOOPS[name]
    benchmark.group = f'{name}, encode 17 keypoints at 48x64'
    benchmark.pedantic(codec.encode if how == 'codec' else lambda *a: loop(codec, *a), scene,
                       rounds=50, iterations=5, warmup_rounds=2)


@pytest.mark.parametrize('how', ['codec', 'loop'])
@pytest.mark.parametrize('name', DECODE_LOOPS)
def test_decode(benchmark, scene, name, how):
    codec, loop = CODECS[name], DECODE_LOOPS[name]
    heatmaps = codec.encode(*scene)['heatmaps']
    benchmark.group = f'{name}, decode 17 maps of 48x64'
    benchmark.pedantic(codec.decode if how == 'codec' else lambda m: loop(codec, m), (heatmaps,),
                       rounds=50, iterations=5, warmup_rounds=2)
