"""Run the chapters of the book in a real kernel and save or keep their outputs, cleaned.

    python tests/book.py                       run every chapter, report
    python tests/book.py --save nbs/index.ipynb ...   run these, write their outputs back
"""
import argparse
import json
import os
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / 'nbs'
KEPT = Path(os.environ.get('POSEBOOK_EXECUTED') or ROOT / 'build/executed')  # chapters as a test run executed them
LIVE_ONLY = ('application/vnd.jupyter.widget-view+json', 'application/vnd.jupyter.widget-state+json')
MACHINE_PATH = re.compile(r'(?<![\w.])/(?:root|home|tmp|work|Users|opt|var)/[\w.-]+')


def read(path):
    """A notebook. (nbformat takes seconds to import, since it compiles 38 grammars: only who reads one pays for it.)"""
    import nbformat
    return nbformat.read(path, as_version=4)


def write(nb, path):
    """The way back."""
    import nbformat
    nbformat.write(nb, path)


def chapters():
    """Every chapter, in reading order."""
    found = [p for p in NBS.rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts]
    return sorted(found, key=lambda p: (p.name != 'index.ipynb', p.name))


def sources(path, kind='code'):
    """The texts of a chapter's cells of one kind."""
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    return [''.join(c['source']) for c in cells if c['cell_type'] == kind]


def has_slow_cells(path):
    """A chapter that trains for longer says so with a `#| slow` line."""
    return any(re.search(r'^#\|\s*slow\b', source, re.M) for source in sources(path))


def keep(nb, path):
    """Put an executed chapter where others find it, so that nothing has to be executed twice."""
    kept = KEPT / path.relative_to(NBS)
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f'.{os.getpid()}.part')
    write(nb, part)
    part.replace(kept)


def executed(path):
    """A chapter with its outputs: as it was kept, if that is newer than everything it is made of, or run now."""
    kept = KEPT / path.relative_to(NBS)
    made_of = [path, *(ROOT / 'posebook').rglob('*.py'), *(ROOT / 'posebook').rglob('*.js')]
    if not kept.exists() or kept.stat().st_mtime < max(p.stat().st_mtime for p in made_of):
        keep(clean(run(path)), path)
    return read(kept)


def run(path, timeout=3600):
    """Execute a chapter from top to bottom; returns the notebook with fresh outputs.

    `timeout`: seconds for one cell, a guard against hanging.
    """
    from nbclient import NotebookClient
    nb = read(path)
    env = dict(os.environ, PYTHONHASHSEED='0',
               PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
    client = NotebookClient(nb, timeout=timeout, kernel_name='python3',
                            resources={'metadata': {'path': str(path.parent)}},
                            store_widget_state=False)
    client.execute(env=env)
    return nb


def clean(nb):
    """Drop what only lives in a running kernel, execution metadata and progress bars."""
    nb.metadata = {'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}}
    for cell in nb.cells:
        cell.metadata = {}
        if cell.cell_type != 'code':
            continue
        cell.execution_count = None
        kept = []
        for out in cell.outputs:
            if out.output_type == 'stream' and out.name == 'stderr':
                continue
            if 'data' in out:
                live = [out.data.pop(mime) for mime in LIVE_ONLY if mime in out.data]
                if live and not any(mime.startswith('image/') for mime in out.data):
                    continue  # a progress bar: what is left would say 0 % for ever
                if 'image/png' in out.data and 'pb-standin' in out.data.get('text/html', ''):
                    del out.data['text/html']  # the same picture, dressed for JupyterLab
                if not out.data:
                    continue
                out.metadata = {}
            if 'execution_count' in out:
                out.execution_count = None
            kept.append(out)
        cell.outputs = kept
    return nb


def complaints(nb):
    """What must not be in the outputs of a committed chapter."""
    found = []
    for i, cell in enumerate(nb.cells):
        for out in cell.get('outputs', []):
            if out.output_type == 'error':
                found.append(f'cell {i}: an error in its outputs')
            text = out.get('text', '') + ''.join(
                str(v) for k, v in out.get('data', {}).items() if k.startswith('text/'))
            if match := MACHINE_PATH.search(text):
                found.append(f'cell {i}: a path of a machine in its outputs: {match[0]}')
            if '<IPython.core.display' in text:
                found.append(f'cell {i}: an object address instead of a picture')
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('notebooks', nargs='*', type=Path, help='default: all chapters')
    parser.add_argument('--save', action='store_true', help='write the cleaned outputs back')
    args = parser.parse_args()
    from nbclient.exceptions import CellExecutionError
    failed = 0
    for path in [p.resolve() for p in args.notebooks] or chapters():
        start = time.perf_counter()
        try:
            nb = clean(run(path))
            problems = complaints(nb)
        except CellExecutionError as e:
            problems = [str(e)[-3000:]]
        seconds = time.perf_counter() - start
        failed += bool(problems)
        print(f'{"FAIL" if problems else "ok":4} {seconds:5.1f} s  {path.relative_to(ROOT)}',
              *problems, sep='\n     ', flush=True)
        if args.save and not problems:
            write(nb, path)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
