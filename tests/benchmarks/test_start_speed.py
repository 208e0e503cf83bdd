"""What imports and the command cost, beside what they cannot do without."""
import subprocess
import sys

import pytest
from timing import print_ratio

pytestmark = pytest.mark.speed


def python(code):
    return lambda: subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


@pytest.mark.parametrize('name, code, beside, needed', [
    ('posebook --help', 'from posebook.cli import make_parser; make_parser().format_help()', 'python', 'pass'),
    ('import posebook.codecs', 'import posebook.codecs', 'numpy and cv2', 'import numpy, cv2'),
    ('import posebook.models', 'import posebook.models', 'torch', 'import torch'),
])
def test_start(name, code, beside, needed):
    print_ratio(f'{name} / {beside}', python(code), python(needed), rounds=3, calls=1)
