"""Files that are whole or not there, errors that name them, folders of one run, names that stay inside."""
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from posebook import files
from posebook.files import cache_dir, inside, locked, name_file, part_prefix, remove_parts, write_atomically

posix = pytest.mark.skipif(os.name != 'posix', reason='rights and links of POSIX')


def names(folder):
    return sorted(p.name for p in folder.rglob('*') if p.is_file())


@pytest.mark.parametrize('content', [b'\x00\xff', 'text: \xfc', b'', '', lambda part: part.write_text('by hand')])
def test_what_is_written_is_there(tmp_path, content):
    path = tmp_path / 'new' / 'folder' / 'a.txt'
    assert write_atomically(str(path), content) == path
    want = b'by hand' if callable(content) else content if isinstance(content, bytes) else content.encode()
    assert path.read_bytes() == want and names(tmp_path) == ['a.txt']


@pytest.mark.parametrize('error', [RuntimeError('no'), KeyboardInterrupt(), SystemExit(3), OSError(28, 'No space left on device')])
@pytest.mark.parametrize('old', [None, 'old'])
def test_what_fails_leaves_what_was_there(tmp_path, error, old):
    path = tmp_path / 'a.txt'
    if old:
        path.write_text(old)

    def fail(part):
        part.write_text('half')
        raise error
    with pytest.raises(type(error)) as caught:
        write_atomically(path, fail)
    assert names(tmp_path) == (['a.txt'] if old else []) and (not old or path.read_text() == old)
    if isinstance(error, OSError):
        assert caught.value.filename == str(path) and caught.value.errno == 28


@posix
@pytest.mark.parametrize('umask', [0o000, 0o022, 0o027, 0o077, 0o177])
def test_rights_are_those_of_open(tmp_path, umask):
    before = os.umask(umask)
    try:
        (tmp_path / 'open').write_text('')
        write_atomically(tmp_path / 'ours', '')
    finally:
        os.umask(before)
    assert (tmp_path / 'ours').stat().st_mode == (tmp_path / 'open').stat().st_mode


@posix
@pytest.mark.parametrize('rights', [0o600, 0o640, 0o644, 0o666, 0o755, 0o777, 0o200])
def test_rights_of_a_file_are_kept(tmp_path, rights):
    path = tmp_path / 'a'
    path.write_text('')
    path.chmod(rights)
    seen = []
    write_atomically(path, lambda part: (seen.append(stat.S_IMODE(part.stat().st_mode)), part.write_text('new')))
    assert stat.S_IMODE(path.stat().st_mode) == rights
    assert not seen[0] & 0o077 & ~rights, 'nobody may read the part who may not read the file'


@posix
def test_links_are_followed(tmp_path):
    (tmp_path / 'there').mkdir()
    (tmp_path / 'there/a').write_text('old')
    for name, goal in (('link', 'there/a'), ('dangling', 'there/new'), ('chain', 'link'), ('far', 'there/not/yet/b')):
        (tmp_path / name).symlink_to(goal)
        write_atomically(tmp_path / name, name)
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_text() == name
    assert (tmp_path / 'there/a').read_text() == 'chain' and (tmp_path / 'there/new').read_text() == 'dangling'


@posix
@pytest.mark.parametrize('place, error', [('folder', errno.EISDIR), ('pipe', errno.EISDIR), ('circle', errno.ELOOP), ('ring1', errno.ELOOP), ('file/a', errno.EEXIST),
                                          ('n' * 300, errno.ENAMETOOLONG), ('/dev/null', errno.EISDIR), ('/proc/nowhere/a', errno.ENOENT)])
def test_places_where_nothing_can_be_written(tmp_path, place, error):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_text('')
    os.mkfifo(tmp_path / 'pipe')
    for name, goal in (('circle', 'circle'), ('ring1', 'ring2'), ('ring2', 'ring1')):
        (tmp_path / name).symlink_to(goal)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / place, 'x')
    assert caught.value.errno in (error, errno.ENOTDIR) and caught.value.filename == str(tmp_path / place)
    assert type(caught.value) is type(OSError(caught.value.errno, ''))
    assert sorted(os.listdir(tmp_path)) == before and (tmp_path / 'circle').is_symlink()


@posix
@pytest.mark.skipif(os.name != 'posix' or os.geteuid() == 0, reason='root may write anywhere')
def test_what_is_read_only_stays(tmp_path):
    (tmp_path / 'a').write_text('old')
    (tmp_path / 'a').chmod(0o444)
    with pytest.raises(PermissionError, match="a'"):
        write_atomically(tmp_path / 'a', 'new')
    (tmp_path / 'closed').mkdir(mode=0o555)
    for call in (lambda: write_atomically(tmp_path / 'closed/b', 'x'), lambda: locked(tmp_path / 'closed').__enter__()):
        with pytest.raises(PermissionError, match='closed'):
            call()


def test_a_file_that_says_no_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / 'a').write_text('old')
    monkeypatch.setattr(os, 'access', lambda path, how: False)  # as it is for everybody but root
    with pytest.raises(PermissionError, match="a'"):
        write_atomically(tmp_path / 'a', 'new')
    assert (tmp_path / 'a').read_text() == 'old' and names(tmp_path) == ['a']


@pytest.mark.parametrize('name', ['a' * 255, 'é' * 127, '漢' * 85, 'x' * 251 + '.pth', '.hidden', 'a b', '-rf', 'a.part'])
def test_any_name_that_the_system_knows(tmp_path, name):
    path = tmp_path / name
    for text in ('one', 'two'):
        assert write_atomically(path, text).read_text() == text
    part = tmp_path / f'{part_prefix(path)}123-0123abcd.part'
    part.write_text('half')
    assert remove_parts(path) == [part] and names(tmp_path) == [name]


def test_parts_of_other_files_are_left_alone(tmp_path):
    others = ['.last.pt.old.1-0123abcd.part', '.last.1-0123abcd.part', '.last.pt.part', 'last.pt.1-0123abcd.part', '.last.pt.x-0123abcd.part', '.lastxpt.1-0123abcd.part']
    for name in [*others, '.last.pt.1-0123abcd.part', '.last.pt.99999-ffffffff.part']:
        (tmp_path / name).write_text('')
    assert len(remove_parts(tmp_path / 'last.pt')) == 2 and names(tmp_path) == sorted(others)
    assert remove_parts(tmp_path / 'nowhere' / 'last.pt') == []


def chained(*errors):
    """The last error, raised while the ones before it were handled."""
    for outer, inner in zip(errors[1:], errors):
        outer.__context__ = inner
    return errors[-1]


@pytest.mark.parametrize('error, number', [
    (OSError(28, 'full'), 28), (chained(OSError(28, 'full'), RuntimeError('unexpected pos 64 vs 0')), 28), (RuntimeError('No space left on device (os error 28)'), 28),
    (RuntimeError('Error while serializing: I/O error: Os { code: 27, kind: FileTooLarge }'), 27), (chained(PermissionError(13, 'no'), KeyError('a'), ValueError('b')), 13),
    (ValueError('other'), None), (OSError('no number'), None), (ValueError('exit code: 1x'), None), (KeyboardInterrupt(), None)])
def test_name_file(error, number):
    named = name_file(error, Path('runs/a.pt'))
    if number is None:
        assert named is error
    else:
        assert named.errno == number and named.filename == 'runs/a.pt' and type(named) is type(OSError(number, ''))


def test_errors_in_a_circle_end():
    a, b = ValueError('a'), ValueError('b')
    a.__cause__, b.__cause__ = b, a
    assert name_file(a, Path('x')) is a


FULL = '''
import resource, sys
from pathlib import Path
from posebook.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_atomically(sys.argv[1], {content})
except OSError as e:
    print(type(e).__name__, e.errno, e.filename)
'''


@posix
@pytest.mark.parametrize('content', ["b'x' * 20_000", "'x' * 20_000", "lambda part: Path(part).write_bytes(b'x' * 20_000)"])
def test_a_full_disk_names_the_file_and_costs_nothing(tmp_path, content):
    (tmp_path / 'a').write_text('old')
    done = subprocess.run([sys.executable, '-c', FULL.format(content=content), tmp_path / 'a'], capture_output=True, text=True)
    assert done.stdout.split() == ['OSError', str(errno.EFBIG), str(tmp_path / 'a')], done.stderr
    assert names(tmp_path) == ['a'] and (tmp_path / 'a').read_text() == 'old'


def test_a_writer_that_is_killed_leaves_the_old_file_and_a_part(tmp_path):
    (tmp_path / 'a').write_text('old')
    code = ('import os, signal, sys\nfrom posebook.files import write_atomically\ndef write(part):\n    part.write_text("half")\n'
            '    os.kill(os.getpid(), signal.SIGKILL)\nwrite_atomically(sys.argv[1], write)')
    done = subprocess.run([sys.executable, '-c', code, tmp_path / 'a'])
    assert done.returncode == -signal.SIGKILL and (tmp_path / 'a').read_text() == 'old'
    assert len(remove_parts(tmp_path / 'a')) == 1 and names(tmp_path) == ['a']


def test_many_writers_and_readers_see_whole_files(tmp_path):
    path, texts, seen, done = tmp_path / 'a', [str(i) * 50_000 for i in range(4)], set(), threading.Event()
    write_atomically(path, texts[0])

    def look():
        while not done.is_set():
            seen.add(path.read_text())
    reader = threading.Thread(target=look)
    writers = [threading.Thread(target=lambda t=t: [write_atomically(path, t) for _ in range(10)]) for t in texts]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen <= set(texts) and path.read_text() in texts and names(tmp_path) == ['a']


# ------------------------------------------------------------------------- locks
OTHER = 'import sys\nfrom posebook.files import locked\nwith locked(sys.argv[1], float(sys.argv[2])): print("in")'


def other(folder, timeout=0.):
    return subprocess.run([sys.executable, '-c', OTHER, folder, str(timeout)], capture_output=True, text=True)


def test_one_run_in_a_folder(tmp_path):
    folder = tmp_path / 'new' / 'run'
    with locked(folder):
        assert 'BlockingIOError' in (refused := other(folder).stderr) and f'{folder} is in use by another run' in refused
        with pytest.raises(BlockingIOError, match='in use by another run'):
            with locked(folder):
                pass
        assert other(tmp_path / 'new').stdout == 'in\n'
    assert other(folder).stdout == 'in\n'
    with pytest.raises(KeyError):
        with locked(folder):
            raise KeyError
    assert other(folder).stdout == 'in\n'


def test_a_killed_run_leaves_no_lock(tmp_path):
    code = OTHER.replace('print("in")', 'import os; os.kill(os.getpid(), 9)')
    assert subprocess.run([sys.executable, '-c', code, tmp_path, '0']).returncode == -9
    assert other(tmp_path).stdout == 'in\n'


@posix
def test_a_lock_that_is_a_link_empties_nothing(tmp_path):
    (tmp_path / 'precious').write_text('old')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/.lock').symlink_to('../precious')
    with pytest.raises(OSError, match='.lock is a link') as caught:
        with locked(tmp_path / 'run'):
            pass
    assert (tmp_path / 'precious').read_text() == 'old' and caught.value.filename == str(tmp_path / 'run')


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / 'a').write_text('')
    with pytest.raises(FileExistsError, match="a'"):
        with locked(tmp_path / 'a'):
            pass


@pytest.mark.parametrize('error', [NotImplementedError('FileSystem does not appear to support flock'), OSError(errno.ENOLCK, 'No locks available')])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, error):
    def acquire(self, **how):
        raise error
    monkeypatch.setattr(files.FileLock, 'acquire', acquire)
    with pytest.warns(UserWarning, match='cannot be locked on its file system'):
        with locked(tmp_path):
            ran = True
    assert ran


# ------------------------------------------------------------------------- names from elsewhere
@pytest.mark.parametrize('name', ['a.jpg', 'train/a.jpg', 'a..b.jpg', '...', './a', 'a/../b', 'a b', '1:30.jpg', 'back\\slash.jpg', 'train\\a.jpg', 'é/漢', 'x..\\y', 'link/in', Path('a') / 'b'])
def test_names_inside(tmp_path, name):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to('real')
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize('name', [
    '..', '../a', 'a/../..', 'a/../../b', '/etc/passwd', '//etc/passwd', '', ' ', '.', './', 'a/..', 'a\0b', '\0', 'out/a', 'out', 'sub/up/a', 'C:\\a', 'c:/a', '\\\\host\\share', '\\a',
    '..\\a', 'a\\..\\..\\b', 'a\\..', 'a/..\\..\\b', '\ud800', None, 5, b'a', ['a'], True, 1.5])
def test_names_that_lead_out(tmp_path, name):
    folder = tmp_path / 'data'
    (folder / 'sub').mkdir(parents=True)
    (folder / 'out').symlink_to(tmp_path)
    (folder / 'sub/up').symlink_to('../..')
    with pytest.raises(ValueError, match='a name in .*data must be (the path of a file inside it|a text); got') as caught:
        inside(folder, name)
    assert len(str(caught.value)) < 500 and '\0' not in str(caught.value)


def test_a_folder_that_is_a_link_or_relative(tmp_path, monkeypatch):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to('real')
    assert inside(tmp_path / 'link', 'a') == tmp_path / 'link/a'
    monkeypatch.chdir(tmp_path / 'real')
    assert inside('.', 'a/b') == Path('a/b') and inside('', 'a') == Path('a')
    with pytest.raises(ValueError, match='leads out'):
        inside('.', '../link/../x')


@pytest.mark.parametrize('env, want', [(dict(POSEBOOK_CACHE='/a/b'), '/a/b'), (dict(XDG_CACHE_HOME='/x'), '/x/posebook'), (dict(POSEBOOK_CACHE='', XDG_CACHE_HOME='', HOME='/h'), '/h/.cache/posebook'),
                                       (dict(POSEBOOK_CACHE='~/c', HOME='/h'), '/h/c')])
@pytest.mark.skipif(sys.platform != 'linux', reason="Linux's folder")
def test_cache_dir(monkeypatch, env, want):
    for name in ('POSEBOOK_CACHE', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert str(cache_dir()) == want


def test_the_ground_floor_is_light():
    code = 'import sys, json, posebook.files, posebook.checks; print(json.dumps(sorted(sys.modules)))'
    loaded = json.loads(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)
    assert not {'torch', 'cv2', 'matplotlib', 'IPython', 'scipy'} & set(loaded)
    assert {n for n in loaded if n.startswith('posebook.')} == {'posebook.files', 'posebook.checks'}


