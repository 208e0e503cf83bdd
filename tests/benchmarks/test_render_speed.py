"""Scenes per second on one core: pytest tests/benchmarks/test_render_speed.py"""
import itertools

import cv2
import pytest

from posebook.datasets.synthetic import render_scene

pytest.importorskip('pytest_benchmark')


def test_render_speed(benchmark):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    index = itertools.count()
    try:
        benchmark.pedantic(lambda: render_scene(0, next(index)), rounds=100, warmup_rounds=3)
    finally:
        cv2.setNumThreads(threads)
    assert benchmark.stats['mean'] < .1          # 15 ms on one core; slower only if something broke
