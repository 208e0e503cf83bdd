"""Lets the tests import what they share (tests/book.py, tests/loops.py), and settles how hypothesis searches."""
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# on a busy machine a slow example is no bug; a CI that finds something new in an old commit helps nobody
settings.register_profile('posebook', deadline=None, derandomize='CI' in os.environ)
settings.load_profile('posebook')

from widget_lab import lab, playwright  # noqa: E402, F401  (fixtures of the browser tests)


@pytest.fixture
def keypoints():
    """Of one person, (17, 2) in pixels of `image`."""
    return np.random.default_rng(3).uniform((60, 40), (140, 150), (17, 2))


@pytest.fixture
def image():
    """Noise, (192, 256, 3) BGR uint8."""
    return np.random.default_rng(4).integers(0, 255, (192, 256, 3), dtype=np.uint8)
