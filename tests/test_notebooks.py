"""Every chapter runs from top to bottom in a kernel of its own, once; its executed form is kept for others."""
import nbformat
import pytest

import book
from book import chapters, clean, complaints, executed, keep, run


@pytest.mark.slow
@pytest.mark.parametrize('path', chapters(), ids=lambda p: p.stem)
def test_chapter_runs(path):
    nb = clean(run(path))
    assert complaints(nb) == []
    committed = nbformat.read(path, as_version=4)
    assert [c.source for c in nb.cells] == [c.source for c in committed.cells]
    keep(nb, path)


def test_an_executed_chapter_is_kept_until_it_changes(tmp_path, monkeypatch):
    runs, chapter = [], tmp_path / 'nbs/part/chapter.ipynb'
    chapter.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('1 + 1')]), chapter)

    def once_more(path):
        runs.append(path)
        return nbformat.read(path, as_version=4)

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
