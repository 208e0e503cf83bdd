"""ruff over the code, and a type checker over what a user writes with it."""
import subprocess
import sys

import pytest

from book import ROOT

SCRIPT = '''
from posebook.codecs import MSRAHeatmap
from posebook.config import Config
from posebook.models import HeatmapHead, HRNet, TopdownPoseEstimator, build_model, load_checkpoint
from posebook.registry import KEYPOINT_CODECS

codec = MSRAHeatmap(input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
head = HeatmapHead(in_channels=32, out_channels=17, decoder=codec)
model = build_model('config.py', checkpoint='weights.pth')
report = load_checkpoint(model, 'weights.pth', strict=False)
samples = model.test_step({})

reveal_type(codec)
reveal_type(head)
reveal_type(TopdownPoseEstimator(HRNet({}), head=head).test_step({}))
reveal_type(samples)
reveal_type(report)
reveal_type(report.ok)
reveal_type(report.missing)
reveal_type(Config.fromfile('config.py'))

MSRAHeatmap(input_size='large', heatmap_size=(48, 64), sigma=2)  # wrong
build_model(17)  # wrong
report.mising  # wrong
'''
KNOWN = ['posebook.codecs.msra_heatmap.MSRAHeatmap', 'posebook.models.heads.heatmap_head.HeatmapHead',
         'list[posebook.structures.pose_data_sample.PoseDataSample]',
         'list[posebook.structures.pose_data_sample.PoseDataSample]', 'LoadReport', 'bool', 'list[str]', '.Config']
SETTINGS = '''
[mypy]
follow_imports = silent
ignore_missing_imports = True
''' + ''.join(f'''
[mypy-{package}.*]
follow_imports = skip
''' for package in ('torchvision', 'numpy', 'cv2', 'matplotlib', 'accelerate', 'timm', 'IPython', 'traitlets'))  # to save time


@pytest.mark.slow
def test_a_users_script_has_types(tmp_path):
    (tmp_path / 'mypy.ini').write_text(SETTINGS)
    (tmp_path / 'script.py').write_text(SCRIPT)
    done = subprocess.run([sys.executable, '-m', 'mypy', '--config-file', tmp_path / 'mypy.ini', tmp_path / 'script.py'],
                          cwd=ROOT, capture_output=True, text=True)
    lines = [line.split('script.py:')[1] for line in done.stdout.splitlines() if 'script.py:' in line]
    errors = {int(line.split(':')[0]): line for line in lines if ' error: ' in line}
    wrong = [i for i, line in enumerate(SCRIPT.splitlines(), 1) if line.endswith('# wrong')]
    assert list(errors) == wrong, done.stdout + done.stderr
    revealed = [line.split('"')[1] for line in lines if 'Revealed type is' in line]
    assert len(revealed) == len(KNOWN)
    assert [(r, k) for r, k in zip(revealed, KNOWN) if not r.endswith(k)] == []


def test_ruff_finds_nothing():
    done = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--output-format', 'concise', 'posebook', 'tests', 'setup.py'],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
