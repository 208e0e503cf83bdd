"""Lets the tests import what they share (tests/book.py, tests/loops.py), settles how hypothesis searches, and deals the
tests out to the workers, one for each core."""
import os
import sys
from functools import lru_cache
from pathlib import Path

if 'PYTEST_XDIST_WORKER' in os.environ:  # before numpy is imported: a core is shared by nobody else
    for library in ('OMP', 'OPENBLAS', 'MKL'):
        os.environ.setdefault(f'{library}_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # threads that wait must not keep others from the core

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

# on a busy machine a slow example is no bug; a CI that finds something new in an old commit helps nobody
settings.register_profile('posebook', max_examples=40, deadline=None, derandomize='CI' in os.environ,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('posebook')

import book  # noqa: E402
from widget_lab import lab, playwright  # noqa: E402, F401  (fixtures of the browser tests)


TESTS = Path(__file__).parent


def asks_for_speeds(config):
    return 'speed' in config.option.markexpr or any('benchmarks' in arg for arg in config.args)


def pytest_ignore_collect(collection_path, config):
    """Benchmarks are not even imported unless they are asked for."""
    return True if collection_path.name == 'benchmarks' and not asks_for_speeds(config) else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """The whole takes all cores (pytest.ini says `-n auto`); named files, output on the screen and speeds take none but
    this process."""
    everything = all(Path(arg).resolve() in (TESTS, TESTS.parent) for arg in config.args)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return cores if everything and cores > 1 and config.option.capture != 'no' and not asks_for_speeds(config) else 0


@lru_cache(maxsize=None)
def drives_a_browser(file):
    return 'mark.browser' in (book.ROOT / file).read_text(encoding='utf-8')


def group_of(nodeid):
    """Which tests share a worker: all of the browser, since one JupyterLab serves them, and all of a file, so that its
    fixtures are made once. A chapter goes by itself."""
    file, _, test = nodeid.partition('::')
    return 'browser' if drives_a_browser(file) else nodeid if test.startswith('test_chapter_runs[') else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid)

    config.option.loadscopereorder = False  # `deal_out` says who goes first
    return ByGroup(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    deal_out(items)


def deal_out(items):
    """The longest start first, so that no worker is left with one of them at the end: the browser, chapters that train,
    files with slow tests, chapters, the rest."""
    slow_files = {i.path for i in items if i.get_closest_marker('slow') and not chapter_of(i)}

    def turn(item):
        if item.get_closest_marker('browser'):
            return 0
        if chapter := chapter_of(item):
            return 1 if book.has_slow_cells(chapter) else 3
        return 2 if item.path in slow_files else 4

    items.sort(key=turn)  # stable


def chapter_of(item):
    """The notebook that a test runs, or None."""
    runs = item.path.stem == 'test_notebooks' and hasattr(item, 'callspec')
    return item.callspec.params.get('path') if runs else None


@pytest.fixture
def keypoints():
    """Of one person, (17, 2) in pixels of `image`."""
    return np.random.default_rng(3).uniform((60, 40), (140, 150), (17, 2))


@pytest.fixture
def image():
    """Noise, (192, 256, 3) BGR uint8."""
    return np.random.default_rng(4).integers(0, 255, (192, 256, 3), dtype=np.uint8)
