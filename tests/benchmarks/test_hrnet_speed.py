"""HRNet-W32 at 192x256 on a CPU: against the usual way to write it, and against its optimised copy.

    pytest -s tests/benchmarks/test_hrnet_speed.py            prints the ratios

Against the plain network it is one thread and the time that the processor gave to this process; the optimised copy is
timed as it is used, with all cores and by the clock, so run it on a machine that does nothing else. What an equal network
costs differs by up to 6 % with where its weights lie. Values are compared before anything is timed.
"""
import os
import time

import pytest
import torch
from plain_hrnet import PlainHRNet, set_used_norms
from timing import print_ratio

from posebook.models import HeatmapHead, HRNet, TopdownPoseEstimator, hrnet_extra, to_official_state_dict
from posebook.models.fast_inference import optimize_for_inference

pytestmark = pytest.mark.speed


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def all_cores():
    threads = torch.get_num_threads()  # 1, where another test module has asked for it
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return set_used_norms(TopdownPoseEstimator(HRNet(hrnet_extra(32), init_cfg=dict(type='Kaiming', layer='Conv2d')),
                                               head=HeatmapHead(32, 17, deconv_out_channels=None)))


@pytest.fixture(scope='module')
def picture():
    return torch.randn(1, 3, 256, 192, generator=torch.Generator().manual_seed(1))


def assert_same(a, b, tolerance):
    assert a.shape == b.shape and b.abs().max() > 0
    assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(max=1)


def test_eager_beside_the_plain_network(one_thread, model, picture):
    plain = PlainHRNet(32).eval().requires_grad_(False)
    plain.load_state_dict(to_official_state_dict(model.state_dict()), strict=True)
    with torch.inference_mode():
        assert_same(model(picture), plain(picture), 1e-5)
        print_ratio('HRNet-W32, plain / posebook', lambda: plain(picture), lambda: model(picture), rounds=8, calls=1,
                    clock=time.process_time)


def test_optimised_beside_eager(all_cores, model, picture):
    fast = optimize_for_inference(model)
    with torch.inference_mode():
        assert_same(fast(picture), model(picture), 1e-4)
        print_ratio('HRNet-W32, eager / optimised', lambda: model(picture), lambda: fast(picture), rounds=8, calls=1)


@pytest.mark.parametrize('name', ['plain', 'eager', 'optimised'])
def test_forward(benchmark, model, picture, name):
    benchmark.group = 'HRNet-W32, one crop of 192x256'
    network = dict(plain=lambda: set_used_norms(PlainHRNet(32)), eager=lambda: model,
                   optimised=lambda: optimize_for_inference(model))[name]()
    with torch.inference_mode():
        benchmark.pedantic(network, (picture, ), rounds=5, warmup_rounds=2)
