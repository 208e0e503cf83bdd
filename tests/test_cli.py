"""The posebook command, as a user meets it."""
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from posebook.cli import book_dir, lab_options, main, make_parser

PYTHON = [sys.executable, '-c', 'import sys; from posebook.cli import main; sys.exit(main())']


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


HEAVY = {'torch', 'torchvision', 'matplotlib', 'IPython', 'ipywidgets', 'anywidget'}


def loaded(code):
    """The heavy packages that a fresh interpreter has loaded after `code`."""
    code = f'{code}\nimport sys; print(*sorted({HEAVY} & set(sys.modules)), file=sys.stderr)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.split()


def test_help_names_the_commands_and_loads_nothing_heavy():
    said, heavy = loaded("from posebook.cli import main\ntry: main(['--help'])\nexcept SystemExit as e: assert e.code == 0")
    assert 'lab' in said and 'train' in said and heavy == []


def test_config_shows_and_compares(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.py').write_text("codec = dict(sigma=2)\nseed = 0\n")
    (tmp_path / 'b.py').write_text("_base_ = 'a.py'\nlr = 1e-3\n")
    (tmp_path / 'evil.py').write_text("import os\nos.system('touch owned')\n")
    assert main(['config', 'b.py', 'codec.sigma=3', '+m.k=1']) == 0
    assert capsys.readouterr().out == 'codec = dict(sigma=3)\nseed = 0\nlr = 0.001\nm = dict(k=1)\n'
    assert main(['config', 'b.py', 'seed=1', '--diff', 'a.py']) == 0
    assert capsys.readouterr().out.split() == '+ lr 0.001 ~ seed 0 -> 1'.split()
    for args, words in ((['evil.py'], 'evil.py, line 1: imports'), (['none.py'], 'no such file'), (['a.py', 'sed=1'], 'Did you mean seed?')):
        assert main(['config', *args]) == 2
        said = capsys.readouterr()
        assert words in said.err and said.out == '' and 'Traceback' not in said.err
    assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize('name', ['codecs', 'structures', 'config'])
def test_importing_needs_numpy_and_opencv_only(name):
    assert loaded(f'import posebook.{name}')[1] == []


def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('')
    with socket.socket() as busy:
        busy.bind(('127.0.0.1', 0))
        busy.listen()
        for args, words in [(['lab', '--port', str(busy.getsockname()[1])], 'cannot be used'),
                            (['lab', '--port', '99999'], '--port must be between'),
                            (['lab', 'no/such/folder'], 'there is no folder'),
                            (['lab', 'file'], 'is a file')]:
            assert main(args) == 2
            said = capsys.readouterr().err
            assert words in said and len(said.splitlines()) == 1 and 'Traceback' not in said


@pytest.mark.parametrize('args', [['train', '--epochs', '0'], ['train', '--nonsense'], ['fly'], []])
def test_wrong_arguments_show_the_usage(args, capsys):
    with pytest.raises(SystemExit) as e:
        main(args)
    assert e.value.code == 2 and 'usage: posebook' in capsys.readouterr().err


def test_root_is_let_in_and_told(monkeypatch, capsys):
    monkeypatch.setattr(os, 'geteuid', lambda: 0, raising=False)
    args = make_parser().parse_args(['lab'])
    for passed_on, added in [([], True), (['--ServerApp.allow_origin=*'], True), (['--allow-root'], False),
                             (['--ServerApp.allow_root=True'], False)]:
        assert ('--allow-root' in lab_options(args, passed_on)) == added, passed_on
        assert ('You are root' in capsys.readouterr().err) == added
    monkeypatch.setattr(os, 'geteuid', lambda: 1000, raising=False)
    assert '--allow-root' not in lab_options(args, []) and capsys.readouterr().err == ''


@pytest.mark.slow
def test_lab_opens_the_cover(tmp_path):
    port = free_port()
    process = subprocess.Popen([*PYTHON, 'lab', 'my-book', '--no-browser', '--port', str(port),
                                '--ServerApp.token='], cwd=tmp_path,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    try:
        deadline = time.monotonic() + 300  # a guard against hanging
        while True:
            try:
                with urllib.request.urlopen(f'http://127.0.0.1:{port}/api/contents/nbs/index.ipynb?content=0') as r:
                    assert r.status == 200
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, 'JupyterLab did not come up'
                time.sleep(.2)
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/') as r:
            assert r.url.endswith('/lab/tree/nbs/index.ipynb')
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=300)
    assert (tmp_path / 'my-book/data_samples/posebook-mini').is_dir()


@pytest.mark.slow
def test_train_says_what_it_reached(tmp_path):
    """From nothing, the pictures included. What the whole recipe reaches is asserted where it runs, in chapter 502."""
    done = subprocess.run([*PYTHON, 'train', '--work-dir', 'out', '--epochs', '1', '--num-images', '64', '--threads', '1'],
                          cwd=tmp_path, capture_output=True, text=True,
                          env=dict(os.environ, POSEBOOK_CACHE=str(tmp_path / 'cache')))
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.search(r'AP (-?\d\.\d{3}) on (\d+) held-out instances after (\d+) s', done.stdout)
    assert 0 <= float(found[1]) < 1 and int(found[2]) >= 200
    assert 'it/s' in done.stderr or 'batch' in done.stderr  # a progress bar
    assert (tmp_path / 'out/last.pt').exists() and (tmp_path / 'out/history.json').exists()


def test_book_dir_is_the_checkout():
    folder, is_checkout = book_dir()
    assert is_checkout and folder == Path(__file__).resolve().parent.parent
