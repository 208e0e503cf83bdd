"""MSRAHeatmap against the same work done one keypoint at a time.

    pytest tests/benchmarks --benchmark-columns=median,iqr,rounds

The loops are the way the papers' code does it: a patch per keypoint, a blur per map. Both sides of a
ratio are timed in turns within one test, so that a busy machine slows both.
"""
import time

import cv2
import numpy as np
import pytest

from posebook.codecs import MSRAHeatmap

SIZES = dict(input_size=(192, 256), heatmap_size=(48, 64), sigma=2)


def encode_by_loop(codec, keypoints, visible):
    """Fill one Gaussian patch at a time."""
    w, h = codec.heatmap_size
    heatmaps = np.zeros((keypoints.shape[1], h, w), np.float32)
    weights = visible.copy()
    radius = codec.sigma * 3
    for n in range(keypoints.shape[0]):
        for k in range(keypoints.shape[1]):
            if visible[n, k] < 0.5:
                continue
            mu = (keypoints[n, k] / codec.scale_factor + 0.5).astype(np.int64)
            left, top = mu - radius
            right, bottom = mu + radius + 1
            if left >= w or top >= h or right < 0 or bottom < 0:
                weights[n, k] = 0
                continue
            x = np.arange(0, 2 * radius + 1, 1, np.float32)
            y = x[:, None]
            patch = np.exp(-((x - radius)**2 + (y - radius)**2) / (2 * codec.sigma**2))
            rows, cols = slice(max(0, top), min(h, bottom)), slice(max(0, left), min(w, right))
            inside = patch[rows.start - top:rows.stop - top, cols.start - left:cols.stop - left]
            heatmaps[k, rows, cols] = np.maximum(heatmaps[k, rows, cols], inside)
    return dict(heatmaps=heatmaps, keypoint_weights=weights)


def decode_by_loop(codec, heatmaps):
    """Find, blur and refine one keypoint at a time."""
    k, h, w = heatmaps.shape
    size = codec.blur_kernel_size
    keypoints, scores = np.empty((1, k, 2), np.float32), np.empty((1, k), np.float32)
    for i in range(k):
        y, x = np.unravel_index(heatmaps[i].argmax(), (h, w))
        scores[0, i] = top = heatmaps[i, y, x]
        keypoints[0, i] = x, y
        blurred = cv2.GaussianBlur(np.pad(heatmaps[i], size // 2), (size, size), 0)
        blurred = blurred[size // 2:-(size // 2), size // 2:-(size // 2)]
        logs = np.log(np.maximum(blurred * (top / blurred.max()), 1e-10))
        if 1 < x < w - 2 and 1 < y < h - 2:
            gradient = np.array([logs[y, x + 1] - logs[y, x - 1], logs[y + 1, x] - logs[y - 1, x]]) / 2
            dxx = (logs[y, x + 2] - 2 * logs[y, x] + logs[y, x - 2]) / 4
            dyy = (logs[y + 2, x] - 2 * logs[y, x] + logs[y - 2, x]) / 4
            dxy = (logs[y + 1, x + 1] - logs[y - 1, x + 1]
                   - logs[y + 1, x - 1] + logs[y - 1, x - 1]) / 4
            hessian = np.array([[dxx, dxy], [dxy, dyy]])
            if np.linalg.det(hessian) != 0:
                keypoints[0, i] -= np.linalg.inv(hessian) @ gradient
    return keypoints * codec.scale_factor, scores


@pytest.fixture
def scene():
    cv2.setNumThreads(1)  # one core against one core
    rng = np.random.default_rng(0)
    return rng.uniform([0, 0], [191, 255], (1, 17, 2)).astype(np.float32), np.ones((1, 17), np.float32)


def ratio_in_turns(slow, fast, rounds=40, calls=10):
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
