"""Every chapter runs from top to bottom in a kernel of its own."""
import nbformat
import pytest

from book import chapters, clean, complaints, run


@pytest.mark.slow
@pytest.mark.parametrize('path', chapters(), ids=lambda p: p.stem)
def test_chapter_runs(path):
    nb = clean(run(path))
    assert complaints(nb) == []
    committed = nbformat.read(path, as_version=4)
    assert [c.source for c in nb.cells] == [c.source for c in committed.cells]
