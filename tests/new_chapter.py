"""Make a chapter from a text, and list it on the book's cover.

    python tests/new_chapter.py nbs/PART/NUMBER_name.ipynb < text

In the text each cell begins with a line `# %% md` or `# %% code`; the first cell holds `# Title` and `> summary`.
"""
import re
import sys
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import NBS, chapters, read, write


def cells_of(text):
    """The cells of a text."""
    parts = re.findall(r'^# %% (md|code)\n(.*?)(?=^# %% (?:md|code)\n|\Z)', text, re.M | re.S)
    return [(new_markdown_cell if kind == 'md' else new_code_cell)(source.strip('\n')) for kind, source in parts]


def check(path, cells):
    """The title; ends the program with a sentence if this cannot be a chapter."""
    title = re.match(r'# (.+)\n+> .+', cells[0].source) if cells and cells[0].cell_type == 'markdown' else None
    if not title:
        sys.exit('the first cell must be `# %% md` with `# Title` and `> one sentence`')
    if path.suffix != '.ipynb' or path.parent.parent.resolve() != NBS or not path.parent.is_dir():
        sys.exit(f'a chapter must be a file nbs/PART/NUMBER_name.ipynb; got {path}')
    if path.name in [p.name for p in chapters()]:
        sys.exit(f'there is a chapter {path.name} already; names are unique in the whole book')
    return title[1].split(':')[0]


def list_on_cover(path, title):
    """Add a link in the last row of the cover's table that has chapters of the same part."""
    cover = read(NBS / 'index.ipynb')
    name = path.resolve().relative_to(NBS).as_posix()
    for cell in cover.cells:
        rows = cell.source.split('\n')
        mine = [i for i, row in enumerate(rows) if row.startswith('|') and f']({path.parent.name}/' in row]
        if mine:
            before, after = re.match(r'(.*\.ipynb\))(.*)', rows[mine[-1]]).groups()
            rows[mine[-1]] = f'{before} · [{title[0].lower() + title[1:]}]({name}){after}'
            cell.source = '\n'.join(rows)
            write(cover, NBS / 'index.ipynb')
            return
    sys.exit(f'the cover has no row for {path.parent.name}: list the chapter there by hand')


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    chapter, new_cells = Path(sys.argv[1]), cells_of(sys.stdin.read())
    chapter_title = check(chapter, new_cells)
    write(new_notebook(cells=new_cells), chapter)
    list_on_cover(chapter, chapter_title)
    print(f'{chapter} has {len(new_cells)} cells')
