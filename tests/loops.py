"""MSRAHeatmap's work done one keypoint at a time, the way the papers' code does it: a patch per
keypoint, a blur per map. What the vectorised codec is compared with, for its values and its speed."""
import cv2
import numpy as np


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
