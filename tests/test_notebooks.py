"""Every chapter runs from top to bottom in a kernel of its own, once; its executed form is kept for others."""
import pytest

import book
from book import chapters, clean, complaints, executed, keep, read, run, write


@pytest.mark.slow
@pytest.mark.parametrize('path', chapters(), ids=lambda p: p.stem)
def test_chapter_runs(path):
    nb = clean(run(path))
    assert complaints(nb) == []
    committed = read(path)
    assert [c.source for c in nb.cells] == [c.source for c in committed.cells]
    keep(nb, path)


def test_an_executed_chapter_is_kept_until_it_changes(tmp_path, monkeypatch):
    from nbformat.v4 import new_code_cell, new_notebook
    runs, chapter = [], tmp_path / 'nbs/part/chapter.ipynb'
    chapter.parent.mkdir(parents=True)
    write(new_notebook(cells=[new_code_cell('1 + 1')]), chapter)

    def once_more(path):
        runs.append(path)
        return read(path)

    for name, value in dict(ROOT=tmp_path, NBS=tmp_path / 'nbs', KEPT=tmp_path / 'kept', run=once_more).items():
        monkeypatch.setattr(book, name, value)
    for _ in range(2):
        assert [c.source for c in executed(chapter).cells] == ['1 + 1']
    assert runs == [chapter] and [p.name for p in (tmp_path / 'kept/part').iterdir()] == ['chapter.ipynb']
    (tmp_path / 'posebook').mkdir()
    changed = tmp_path / 'posebook/module.py'
    changed.touch()
    later = (tmp_path / 'kept/part/chapter.ipynb').stat().st_mtime + 1
    book.os.utime(changed, (later, later))
    executed(chapter)
    assert len(runs) == 2
