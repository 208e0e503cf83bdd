"""Lets the tests import what they share (tests/book.py, tests/loops.py), and settles how hypothesis searches."""
import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# on a busy machine a slow example is no bug; a CI that finds something new in an old commit helps nobody
settings.register_profile('posebook', deadline=None, derandomize='CI' in os.environ)
settings.load_profile('posebook')

from widget_lab import lab, playwright  # noqa: E402, F401  (fixtures of the browser tests)
