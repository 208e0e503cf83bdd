"""ruff over the code, a type checker over what a user writes with it, and the hooks before a commit."""
import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from book import ROOT, chapters, sources

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


def test_the_hooks_before_a_commit_are_installed():
    scripts = Path(sys.executable).parent
    done = subprocess.run([scripts / 'pre-commit', 'validate-config'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    programs = re.findall(r'entry: (\S+)', (ROOT / '.pre-commit-config.yaml').read_text())
    assert len(programs) == 3 and all(shutil.which(name, path=scripts) for name in programs)


CLOCKS = {'perf_counter', 'process_time', 'default_timer', 'timeit'}


def names(node):
    return {getattr(n, 'id', getattr(n, 'attr', '')) for n in ast.walk(node)} - {''}


def held_by(target):
    """The names that an assignment to this target fills: `took`, `spent['a']`, `m.began`, `a, b`."""
    while isinstance(target, ast.Subscript):
        target = target.value
    if isinstance(target, ast.Tuple):
        return set().union(*map(held_by, target.elts))
    return {getattr(target, 'id', getattr(target, 'attr', ''))}


def asserts_on_times(source):
    """Lines of asserts about a name that was given a clock's reading."""
    if not any(clock in source for clock in CLOCKS):
        return []
    tree, times = ast.parse(source), set(CLOCKS)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.NamedExpr)) and names(node.value) & CLOCKS:
            times = times.union(*map(held_by, getattr(node, 'targets', None) or [node.target]))
        elif isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'append' and names(node) & CLOCKS:
            times |= held_by(node.func.value)
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert) and names(node.test) & times]


def test_no_chapter_and_no_test_asserts_on_a_time():
    assert asserts_on_times('start = time.perf_counter()\nrun()\ntook = time.perf_counter() - start\nassert took < 2') == [4]
    assert asserts_on_times('spent["a"] = process_time() - start\nassert max(spent.values()) < 5') == [2]
    assert asserts_on_times('took = perf_counter()\nassert found == 3\nprint(took)') == []
    found = {}
    for path in chapters():
        source = '\n'.join(re.sub(r'^[%!]', '#', cell, flags=re.M) for cell in sources(path))
        found[path.name] = asserts_on_times(source)
    for path in (ROOT / 'tests').rglob('*.py'):
        found[path.name] = asserts_on_times(path.read_text(encoding='utf-8'))
    assert {name: lines for name, lines in found.items() if lines} == {}
