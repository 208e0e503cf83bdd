"""The posebook command, as a user meets it."""
import errno
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from posebook.book.places import MANIFEST, data_samples_dir
from posebook.cli import _COMMANDS, book_dir, copy_book, lab_options, main, make_parser, recipe_defaults

PYTHON = [sys.executable, '-c', 'import sys; from posebook.cli import main; sys.exit(main())']


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


HEAVY = {'torch', 'torchvision', 'matplotlib', 'IPython', 'ipywidgets', 'anywidget', 'jupyter_server', 'scipy'}


def loaded(code):
    """The heavy packages that a fresh interpreter has loaded after `code`."""
    code = f'{code}\nimport sys; print(*sorted({HEAVY} & set(sys.modules)), file=sys.stderr)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.split()


@pytest.mark.parametrize('args', [['--help'], ['train', '--help'], ['lab', '--help'], ['--version']])
def test_help_loads_nothing_heavy(args):
    said, heavy = loaded(f'from posebook.cli import main\ntry: main({args})\nexcept SystemExit as e: assert not e.code')
    assert 'posebook' in said and heavy == []


def test_python_m_posebook_is_the_command():
    done = subprocess.run([sys.executable, '-m', 'posebook', '--help'], capture_output=True, text=True)
    assert done.returncode == 0 and 'lab' in done.stdout and 'train' in done.stdout and 'usage: posebook' in done.stdout
    done = subprocess.run([sys.executable, '-m', 'posebook', 'config', 'none.py'], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_the_help_of_train_shows_the_numbers_of_the_recipe(capsys):
    from dataclasses import asdict

    from posebook.engine.recipes.mini import MiniRecipe
    assert recipe_defaults() == asdict(MiniRecipe())
    with pytest.raises(SystemExit):
        main(['train', '--help'])
    text = ' '.join(capsys.readouterr().out.split())
    for words in ('how often each sample is seen (default: 5)', 'to render (default: 3000)', 'in a step (default: 8)'):
        assert words in text


@pytest.mark.parametrize('args, words', [
    (['train', '--epochs', 'two'], "--epochs: must be a whole number of at least 1; got 'two'"),
    (['train', '--epochs', '0'], "--epochs: must be a whole number of at least 1; got '0'"),
    (['train', '--batch-size', '2.5'], "--batch-size: must be a whole number"),
    (['train', '--seed', '-1'], '--seed: must be a whole number of at least 0'),
    (['train', '--threads', ''], '--threads: must be a whole number'),
    (['lab', '--port', 'http'], '--port: must be a whole number'),
])
def test_wrong_numbers_are_said_in_plain_words(args, words, capsys):
    with pytest.raises(SystemExit) as e:
        main(args)
    assert e.value.code == 2 and words in capsys.readouterr().err


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


def one_line(capsys, args, code=2):
    assert main(args) == code
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and 'Traceback' not in said, said
    return said


def test_what_goes_wrong_in_train_is_one_line(tmp_path, capsys, monkeypatch):
    from posebook.engine import save_atomically
    monkeypatch.setenv('POSEBOOK_CACHE', str(tmp_path / 'cache'))
    (tmp_path / 'file').write_text('')
    (tmp_path / 'run').mkdir()
    save_atomically(dict(model={}), tmp_path / 'run/last.pt')
    before = (tmp_path / 'run/last.pt').read_bytes()
    for args, words in [(['--work-dir', f'{tmp_path}/file'], 'file'), (['--work-dir', f'{tmp_path}/file/below'], 'file/below'),
                        (['--work-dir', '/proc/nothing'], '/proc/nothing'), (['--work-dir', f'{tmp_path}/run'], '--resume')]:
        assert words in one_line(capsys, ['train', *args])
    assert not (tmp_path / 'cache').exists() or not list((tmp_path / 'cache').iterdir())  # no picture was rendered before
    assert (tmp_path / 'run/last.pt').read_bytes() == before
    monkeypatch.setenv('POSEBOOK_CACHE', str(tmp_path / 'file/cache'))  # a HOME that cannot be written to
    assert 'POSEBOOK_CACHE=FOLDER' in one_line(capsys, ['train', '--work-dir', f'{tmp_path}/new'])


def test_resuming_something_else_is_one_line(tmp_path, capsys, monkeypatch):
    from posebook.engine import ResumeError

    def refuse(**kwargs):
        raise ResumeError('Trainer: recipe must be that of last.pt; got another one: batch_size: 8 -> 4')

    monkeypatch.setattr('posebook.engine.recipes.mini.train_mini', refuse)
    monkeypatch.setenv('POSEBOOK_CACHE', str(tmp_path))
    assert 'batch_size: 8 -> 4' in one_line(capsys, ['train', '--resume', '--batch-size', '4', '--work-dir', str(tmp_path)])


def test_a_full_disk_and_ctrl_c_are_one_line(tmp_path, capsys, monkeypatch):
    def full(args):
        raise OSError(errno.ENOSPC, 'No space left on device', 'runs/mini/last.pt')

    def stopped(args):
        raise KeyboardInterrupt

    monkeypatch.setitem(_COMMANDS, 'train', full)
    said = one_line(capsys, ['train'])
    assert 'No space left' in said and 'runs/mini/last.pt' in said
    monkeypatch.setitem(_COMMANDS, 'train', stopped)
    assert 'nothing is kept' in one_line(capsys, ['train', '--work-dir', str(tmp_path)], 130)
    (tmp_path / 'last.pt').write_text('')
    said = one_line(capsys, ['train', '--epochs', '2', '--work-dir', str(tmp_path)], 130)
    assert f'posebook train --epochs 2 --work-dir {tmp_path} --resume' in said


@pytest.mark.slow
def test_ctrl_c_in_a_real_training_is_one_line_with_the_way_on(tmp_path):
    env = dict(os.environ, POSEBOOK_CACHE=str(tmp_path / 'cache'), OMP_NUM_THREADS='1', PYTHONUNBUFFERED='1')
    args = ['train', '--num-images', '8', '--epochs', '3', '--batch-size', '8', '--threads', '1', '--work-dir', 'out']
    process = subprocess.Popen([*PYTHON, *args], cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in process.stdout:
        if line.startswith('epoch 1 of 3'):
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130 and 'Traceback' not in errors
    assert errors.splitlines()[-1] == ('posebook train: stopped. What was done is kept; go on with: '
                                       f'posebook {" ".join(args)} --resume')


def test_a_reader_that_has_seen_enough(tmp_path):
    (tmp_path / 'a.py').write_text('x = ' + repr(list(range(30000))))
    process = subprocess.Popen([*PYTHON, 'config', str(tmp_path / 'a.py')], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert b'Traceback' not in process.stderr.read()
    process.wait()


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


class Lab:
    """A `posebook lab` that runs in a folder, with a terminal as its standard input."""

    def __init__(self, cwd, *args, **env):
        self.port, self.log = free_port(), cwd / 'log'
        self.terminal, stdin = pty.openpty()
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen([*PYTHON, 'lab', 'my-book', '--no-browser', '--port', str(self.port), *args], cwd=cwd, stdin=stdin,
                                            stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ, **env), start_new_session=True)
        os.close(stdin)

    def get(self, path):
        with urllib.request.urlopen(f'http://127.0.0.1:{self.port}{path}', timeout=30) as r:
            return r.url, r.read()

    def wait(self, ready, what):
        deadline = time.monotonic() + 120
        while not ready():
            assert self.process.poll() is None and time.monotonic() < deadline, f'{what}: {self.log.read_text()[-2000:]}'
            time.sleep(.2)

    def is_up(self):
        try:
            return self.get('/api/contents/nbs/index.ipynb?content=0')
        except OSError:
            return False

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.terminal)


@pytest.fixture
def start_lab(tmp_path):
    started = []

    def start(*args, **env):
        started.append(Lab(tmp_path, *args, **env))
        return started[-1]

    yield start
    for lab in started:
        lab.close()


def autosave(lab):
    settings = json.loads(lab.get('/lab/api/settings/@jupyterlab/docmanager-extension:plugin')[1])
    return json.loads(settings['raw'] or '{}').get('autosave', settings['schema']['properties']['autosave']['default'])


@pytest.mark.slow
def test_lab_opens_the_cover_and_stops_as_jupyterlab_does(tmp_path, start_lab):
    lab = start_lab('--ServerApp.token=')
    lab.wait(lab.is_up, 'JupyterLab did not come up')
    assert lab.get('/')[0].endswith('/lab/tree/nbs/index.ipynb')
    assert (tmp_path / 'my-book/data_samples/posebook-mini').is_dir() and (tmp_path / 'my-book' / MANIFEST).is_file()
    assert autosave(lab) is False  # reading changes nothing
    os.killpg(lab.process.pid, signal.SIGINT)  # as a terminal does for one Ctrl-C
    lab.wait(lambda: 'Shut' in lab.log.read_text(), 'no question')
    time.sleep(1)  # longer than a parent that would not wait
    assert lab.process.poll() is None and lab.is_up()
    lab.process.terminate()
    assert lab.process.wait(timeout=60) == 0
    with socket.socket() as s:
        assert s.connect_ex(('127.0.0.1', lab.port))  # nobody is left with the port
    assert 'Traceback' not in lab.log.read_text()


@pytest.mark.slow
def test_lab_overrules_nothing_that_was_configured(tmp_path, start_lab):
    config = tmp_path / 'config'
    (config / 'lab/user-settings/@jupyterlab/docmanager-extension').mkdir(parents=True)
    (config / 'lab/user-settings/@jupyterlab/docmanager-extension/plugin.jupyterlab-settings').write_text('{"autosave": true}')
    (config / 'jupyter_server_config.py').write_text('c.IdentityProvider.token = ""\nc.ServerApp.port_retries = 7\n')
    lab = start_lab(JUPYTER_CONFIG_DIR=str(config), JUPYTERLAB_SETTINGS_DIR=str(config / 'lab/user-settings'))
    lab.wait(lab.is_up, 'JupyterLab did not come up')
    assert autosave(lab) is True


def test_lab_notices_a_missing_jupyterlab_before_it_copies(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('posebook.book.lab.find_spec', lambda name: None)
    assert 'pip install jupyterlab' in one_line(capsys, ['lab', 'book'])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize('settings, name', [
    ({}, 'PromptConnection'),
    (dict(GatewayClient=dict(url='http://127.0.0.1:1')), 'GatewayWebSocketConnection'),
    (dict(ServerApp=dict(kernel_websocket_connection_class='jupyter_server.gateway.connections.GatewayWebSocketConnection')),
     'GatewayWebSocketConnection'),
    (dict(ServerApp=dict(kernel_manager_class='jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager')),
     'ZMQChannelsWebsocketConnection'),
])
def test_the_prompt_connection_is_only_a_default(settings, name):
    from jupyter_server.gateway.gateway_client import GatewayClient
    from traitlets.config import Config

    from posebook.widgets.prompt_server import PromptServerApp
    app = PromptServerApp(config=Config(settings))
    app.gateway_config = GatewayClient(parent=app)
    assert app.kernel_websocket_connection_class.__name__ == name


# the reader's copy of the book

@pytest.fixture
def package(tmp_path):
    folder = tmp_path / 'package'
    release(folder, 1)
    return folder


def release(folder, edition, names=('nbs/index.ipynb', 'nbs/2_data/201.ipynb', 'nbs/figure.png', 'data_samples/a.json')):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(dict(name=name, edition=edition, text='x' * 200)))


def editions(book):
    return {p.relative_to(book).as_posix(): json.loads(p.read_text())['edition'] for p in sorted(book.rglob('*')) if p.suffix in ('.ipynb', '.png', '.json')
            and p.name != MANIFEST and 'edition' in p.read_text()}


def test_an_upgrade_reaches_what_the_reader_did_not_touch(package, tmp_path):
    book, said = tmp_path / 'book', []
    assert copy_book(package, book, said.append) == [] and said == []
    mine = book / 'nbs/2_data/201.ipynb'
    mine.write_text('{"mine": 1}')
    for edition in (2, 3):  # twice: the note keeps up
        release(package, edition)
        assert copy_book(package, book, said.append) == [mine] and mine.read_text() == '{"mine": 1}'
        assert set(editions(book).values()) == {edition} and len(editions(book)) == 3
        assert said.pop().startswith('files of an earlier release brought up to date: 3')
    assert copy_book(package, book, said.append) == [mine] and said == []


def test_a_copy_that_was_broken_off_is_finished(package, tmp_path):
    book = tmp_path / 'book'
    copy_book(package, book)
    (book / 'nbs/index.ipynb').write_bytes((package / 'nbs/index.ipynb').read_bytes()[:50])
    (book / 'nbs/figure.png').write_bytes(b'')
    (book / 'data_samples/a.json').unlink()
    (book / 'nbs/2_data/.201.ipynb.123-0123abcd.part').write_text('half')
    (book / 'nbs/2_data/.mine.part').write_text('mine')
    said = []
    assert copy_book(package, book, said.append) == [] and set(editions(book).values()) == {1} and len(editions(book)) == 4
    assert said == ['files that were cut off made again: 2, e.g. nbs/figure.png']
    assert [p.name for p in book.rglob('*.part')] == ['.mine.part']
    # half of the last release's chapter: it may hold something of the reader's
    (book / 'nbs/index.ipynb').write_text('{"cells": ["my ans')
    release(package, 2)
    assert copy_book(package, book) == [] and editions(book)['nbs/index.ipynb'] == 2
    assert (book / 'nbs/index.ipynb.broken').read_text() == '{"cells": ["my ans'


def test_a_full_disk_leaves_the_copy_as_it_was_and_names_the_file(package, tmp_path, monkeypatch):
    book = tmp_path / 'book'
    copy_book(package, book)
    release(package, 2)
    write = os.fsync

    def full(fd):
        if '201.ipynb' in os.readlink(f'/proc/self/fd/{fd}'):
            raise OSError(errno.ENOSPC, 'No space left on device')
        write(fd)

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left on device.*book/nbs/2_data/201.ipynb'):
        copy_book(package, book)
    monkeypatch.undo()
    assert set(editions(book).values()) == {1, 2} and not list(book.rglob('*.part'))
    assert copy_book(package, book) == [] and set(editions(book).values()) == {2}


def test_nothing_is_written_through_links(package, tmp_path):
    book, outside = tmp_path / 'book', tmp_path / 'outside'
    outside.mkdir()
    copy_book(package, book)
    (book / 'nbs/index.ipynb').unlink()
    (book / 'nbs/index.ipynb').symlink_to(outside / 'dangling.ipynb')
    (outside / 'old.ipynb').write_bytes((book / 'nbs/2_data/201.ipynb').read_bytes())
    (book / 'nbs/2_data/201.ipynb').unlink()
    (book / 'nbs/2_data/201.ipynb').symlink_to(outside / 'old.ipynb')
    (book / 'data_samples/a.json').unlink()
    (book / 'data_samples').rmdir()
    (book / 'data_samples').symlink_to(outside)
    release(package, 2)
    kept = copy_book(package, book)
    assert [p.name for p in kept] == ['a.json', '201.ipynb', 'index.ipynb']
    assert [p.name for p in outside.iterdir()] == ['old.ipynb'] and json.loads((outside / 'old.ipynb').read_text())['edition'] == 1
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    (tmp_path / 'real').mkdir()  # the whole book behind a link is the reader's choice
    assert copy_book(package, tmp_path / 'link') == [] and len(editions(tmp_path / 'real')) == 4


def test_a_chapter_that_is_gone_goes_unless_it_was_changed(package, tmp_path):
    book, said = tmp_path / 'book', []
    copy_book(package, book)
    (package / 'nbs/2_data/201.ipynb').unlink()
    (package / 'nbs/figure.png').unlink()
    (book / 'nbs/figure.png').write_text('mine')
    assert copy_book(package, book, said.append) == []
    assert not (book / 'nbs/2_data/201.ipynb').exists() and (book / 'nbs/figure.png').read_text() == 'mine'
    assert said == ['files that the book no longer has taken away: 1, e.g. nbs/2_data/201.ipynb']


@pytest.mark.parametrize('note', [None, '', '{"installed"', '[]', '{"installed": [1]}', '{"installed": {"nbs/index.ipynb": 3}}', '{"installed": {"../outside": ["0"]}}'])
def test_a_lost_or_damaged_note_costs_nobody_anything(package, tmp_path, note):
    book = tmp_path / 'book'
    copy_book(package, book)
    (tmp_path / 'outside').write_text('not of the book')
    (book / MANIFEST).unlink() if note is None else (book / MANIFEST).write_text(note)
    assert copy_book(package, book) == []
    release(package, 2)
    assert copy_book(package, book) == [] and set(editions(book).values()) == {2}
    assert (tmp_path / 'outside').read_text() == 'not of the book'


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
    assert data_samples_dir() == folder / 'data_samples'
