"""The wheel: built, installed into an environment of its own, and used."""
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from book import NBS, ROOT, chapters

SMOKE = '''
import json, sys
from pathlib import Path
import posebook
from posebook.cli import book_dir, copy_book
from posebook.book.places import data_samples_dir
from posebook.registry import KEYPOINT_CODECS, MODELS
from posebook.widgets import SpacesExplorer
folder, is_checkout = book_dir()
assert not is_checkout, 'the wheel was not what was imported'
codec = KEYPOINT_CODECS.build(dict(type='MSRAHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2))
MODELS.build(dict(type='HeatmapHead', in_channels=4, out_channels=17, deconv_out_channels=None, decoder=codec))
assert (data_samples_dir() / 'posebook-mini').is_dir() and SpacesExplorer._esm
assert copy_book(folder, Path('posebook-book')) == []
print(json.dumps(dict(file=posebook.__file__, version=posebook.__version__)))
'''


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp('dist')
    # from a copy of what git knows: nothing that merely lies about can get into the wheel
    source = tmp_path_factory.mktemp('source')
    files = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, files.stdout.split('\0')):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run([sys.executable, '-m', 'build', '--outdir', str(out), str(source)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert list(out.glob('*.tar.gz'))
    return next(out.glob('*.whl'))


@pytest.mark.slow
def test_wheel_carries_the_book(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = [p.name for p in chapters() if f'posebook/nbs/{p.relative_to(NBS).as_posix()}' not in names]
    assert missing == []
    assert 'posebook/data_samples/posebook-mini/annotations/person_keypoints_train.json' in names
    assert 'posebook/py.typed' in names
    assert any(n.startswith('posebook/widgets/static/') and n.endswith('.js') for n in names)
    assert any('LICENSE' in n for n in names)
    assert not any('.ipynb_checkpoints' in n or n.startswith('tests') for n in names)
    assert wheel.stat().st_size < 20e6


@pytest.mark.slow
def test_wheel_works_in_an_environment_of_its_own(wheel, tmp_path):
    venv.create(tmp_path / 'env', with_pip=True)
    python = tmp_path / 'env/bin/python'
    subprocess.run([python, '-m', 'pip', 'install', '-q', '--no-deps', '--disable-pip-version-check', wheel],
                   check=True)
    # the third-party packages are those of the tests; posebook itself is the wheel's
    site = next((tmp_path / 'env/lib').glob('python*/site-packages'))
    (site / 'third_party.pth').write_text(sysconfig.get_path('purelib') + '\n')
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run([python, '-c', SMOKE], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert str(site) in done.stdout
    assert (tmp_path / 'posebook-book/nbs/index.ipynb').is_file()
    command = subprocess.run([tmp_path / 'env/bin/posebook', '--version'], cwd=tmp_path, capture_output=True,
                             text=True, env=env)
    assert command.stdout.startswith('posebook ') and command.returncode == 0, command.stderr


def test_requirements_have_bounds():
    text = (ROOT / 'settings.ini').read_text()
    wanted = [w for line in text.splitlines() if line.startswith(('requirements', 'dev_requirements'))
              for w in line.split('=', 1)[1].split()]
    assert wanted and all(any(sign in w for sign in ('>=', '==')) for w in wanted)
    pinned = {line.split('==')[0].lower().replace('_', '-') for line in (ROOT / 'constraints.txt').read_text().splitlines()
              if '==' in line}
    unpinned = [w for w in wanted if Path(w.split('>')[0].split('=')[0]).name.lower().replace('_', '-') not in pinned]
    assert unpinned == [], 'constraints.txt must name the versions that the tests ran with'


def test_the_pins_are_for_every_python_that_readme_names():
    from packaging.requirements import Requirement
    readme = (ROOT / 'README.md').read_text()
    assert 'Python 3.10 to 3.13' in readme
    pins = [Requirement(line) for line in (ROOT / 'constraints.txt').read_text().splitlines() if line and line[0] != '#']
    assert all(len(pin.specifier) == 1 and str(pin.specifier).startswith('==') for pin in pins)
    for python in ('3.10', '3.11', '3.12', '3.13'):
        names = [pin.name.lower() for pin in pins if pin.marker is None or pin.marker.evaluate({'python_version': python})]
        assert len(names) == len(set(names)), 'two pins for one package'
    versions = {pin.name: str(pin.specifier) for pin in pins if pin.marker is None}
    assert f'torch{versions["torch"]} torchvision{versions["torchvision"]}' in readme  # the smaller way: the same pair


def test_the_files_around_the_book_are_whole():
    cover = (ROOT / 'CITATION.cff').read_text()
    version = next(line.split('=')[1].strip() for line in (ROOT / 'settings.ini').read_text().splitlines() if line.startswith('version'))
    for key in ('cff-version: 1.2.0', 'message: ', 'title: ', 'authors:', f'version: {version}', 'license: Apache-2.0'):
        assert f'\n{key}' in f'\n{cover}', key
    assert '## [Unreleased]' in (ROOT / 'CHANGELOG.md').read_text()
    forms = sorted(p.name for p in (ROOT / '.github/ISSUE_TEMPLATE').iterdir())
    assert forms == ['bug.yml', 'chapter.yml', 'config.yml']  # what a form needs:
    for name in forms[:2]:
        form = (ROOT / '.github/ISSUE_TEMPLATE' / name).read_text()
        assert all(f'\n{key}' in f'\n{form}' for key in ('name: ', 'description: ', 'body:'))
