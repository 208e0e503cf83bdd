"""MSRAHeatmap against the same work done one keypoint at a time.

    pytest tests/benchmarks --benchmark-columns=median,iqr,rounds

Both sides of a ratio are timed in turns within one test, so that a busy machine slows both.
"""
import time

import cv2
import numpy as np
import pytest
from loops import decode_by_loop, encode_by_loop

from posebook.codecs import MSRAHeatmap

SIZES = dict(input_size=(192, 256), heatmap_size=(48, 64), sigma=2)


@pytest.fixture
def scene():
    cv2.setNumThreads(1)  # one core against one core
    rng = np.random.default_rng(0)
    return rng.uniform([0, 0], [191, 255], (1, 17, 2)).astype(np.float32), np.ones((1, 17), np.float32)


def ratio_in_turns(slow, fast, rounds=30, calls=20):
    """How many times faster `fast` is: the median over rounds of two blocks timed back to back."""
    def seconds(call):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - start

    return float(np.median([seconds(slow) / seconds(fast) for _ in range(rounds)]))


@pytest.mark.parametrize('how', ['vectorised', 'loop'])
def test_encode(benchmark, scene, how):
    codec = MSRAHeatmap(**SIZES)
    benchmark.group = 'encode 17 keypoints to 48x64'
    benchmark(codec.encode if how == 'vectorised' else lambda *a: encode_by_loop(codec, *a), *scene)


@pytest.mark.parametrize('how', ['vectorised', 'loop'])
def test_dark_decode(benchmark, scene, how):
    codec = MSRAHeatmap(**SIZES, unbiased=True)
    heatmaps = codec.encode(*scene)['heatmaps']
    benchmark.group = 'DARK decode 17 maps of 48x64'
    benchmark(codec.decode if how == 'vectorised' else lambda m: decode_by_loop(codec, m), heatmaps)


def test_encode_is_8_times_faster(scene):
    codec = MSRAHeatmap(**SIZES)
    want, got = encode_by_loop(codec, *scene), codec.encode(*scene)
    np.testing.assert_allclose(got['heatmaps'], want['heatmaps'], atol=1e-6)
    ratio = ratio_in_turns(lambda: encode_by_loop(codec, *scene), lambda: codec.encode(*scene))
    print(f'encode: {ratio:.1f} times faster than the loop')
    assert ratio >= 8


def test_dark_decode_is_15_times_faster(scene):
    codec = MSRAHeatmap(**SIZES, unbiased=True)
    heatmaps = codec.encode(*scene)['heatmaps']
    for got, want in zip(codec.decode(heatmaps), decode_by_loop(codec, heatmaps)):
        np.testing.assert_allclose(got, want, atol=1e-3)
    ratio = ratio_in_turns(lambda: decode_by_loop(codec, heatmaps), lambda: codec.decode(heatmaps))
    print(f'DARK decode: {ratio:.1f} times faster than the loop')
    assert ratio >= 15
