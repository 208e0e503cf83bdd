"""The recipes of CONTRIBUTING.md, followed by their own words in a fresh clone."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def recipes():
    """`{title: the commands of its bash block}` for the sections that make a chapter."""
    text = (ROOT / 'CONTRIBUTING.md').read_text()
    found = re.findall(r'^```bash\n(.*?)^```$|^## ([^\n]+)$', text, re.M | re.S)  # a block may have headings in it
    titles = [title for block, title in found]
    return {titles[i - 1]: block for i, (block, _) in enumerate(found) if 'new_chapter.py nbs' in block}


def test_there_are_four_recipes():
    assert list(recipes()) == ['A chapter', 'A codec', 'A widget', 'A data set']


@pytest.mark.slow
def test_the_recipes_work_in_a_fresh_clone(tmp_path):
    """One after the other; the tests that end each of them run once, for all."""
    if not (ROOT / '.git').exists():
        pytest.skip('not a git checkout')
    clone = tmp_path / 'posebook'
    subprocess.run(['git', 'clone', '-q', '--depth', '1', f'file://{ROOT}', clone], check=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])

    def run(commands):
        done = subprocess.run(['bash', '-e', '-c', commands], cwd=clone, capture_output=True, text=True,
                              env=dict(os.environ, PATH=path, PYTHONPATH=str(clone)))  # as after `pip install -e`
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    chosen = []
    for commands in recipes().values():
        chosen += re.findall(r'^pytest tests/test_export.py -k "(\d+) or modules or names"$', commands, re.M)
        run('\n'.join(line for line in commands.split('\n') if not line.startswith(('posebook lab', 'pytest '))))
    assert len(chosen) == 4
    run(f'pytest -q -p no:cacheprovider tests/test_export.py -k "{" or ".join(chosen)} or modules or names"')
    assert '4 insertions(+), 4 deletions(-)' in run('git diff --shortstat -- nbs/index.ipynb')  # a row of the cover for each
    run("python -c 'from posebook.registry import KEYPOINT_CODECS as c, DATASETS as d; print(c.get(\"PyramidHeatmap\"), d.get(\"DogDataset\"))'")
