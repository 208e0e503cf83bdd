"""What the browser tests of the widgets share: a real JupyterLab, a notebook opened in Chromium, and its helpers.

A test file has a NOTEBOOK (sources of code cells; the widget must be the result of the first), and

    page = opened_notebook('codec_lab', NOTEBOOK)    # a fixture: run, in view, with its first answer
    widget = widget_at_rest('page')                  # a fixture: the same, reset before each test

The fixtures `playwright` and `lab` come with conftest. Without a browser the tests are skipped, or fail where
POSEBOOK_REQUIRE_BROWSER=1.

Nothing here asserts on a time: a drag is so many moves, and what counts is what was drawn, asked and answered. How
long that takes is printed by tests/benchmarks/test_widget_speed.py.
"""
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

from book import write

ROOT = Path(__file__).resolve().parent.parent
PERSON = '''
import cv2
import numpy as np
from posebook.structures.metainfo import COCO, parse_pose_metainfo

rng = np.random.default_rng(0)
image = cv2.resize(rng.integers(60, 200, (12, 16, 3), dtype=np.uint8), (256, 192))
keypoints = np.array([[128, 40], [132, 36], [124, 36], [137, 38], [119, 38], [146, 62], [110, 62],
                      [156, 88], [100, 88], [162, 112], [94, 112], [140, 112], [116, 112], [142, 142],
                      [114, 142], [143, 170], [113, 170]], float)
visible = np.full(17, 2)
visible[[4, 16]] = 1, 0                      # one hidden, one without a label
'''  # the beginning of a notebook
CHROMIUM = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update',
            '--disable-sync', '--no-first-run']


def missing(what):
    """Skip, or fail where a browser is required."""
    if os.environ.get('POSEBOOK_REQUIRE_BROWSER') == '1':
        pytest.fail(f'{what}, and POSEBOOK_REQUIRE_BROWSER=1')
    pytest.skip(what)


@pytest.fixture(scope='module')  # not longer: its event loop would be in the way of other tests
def playwright():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing('playwright is not installed')
    if not shutil.which('chromium'):
        missing('no chromium on the PATH')
    with sync_playwright() as p:
        yield p


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def lab_settings(folder):
    """JupyterLab without pop-ups and with its own folders."""
    settings = folder / 'settings' / '@jupyterlab' / 'apputils-extension'
    settings.mkdir(parents=True)
    (settings / 'notification.jupyterlab-settings').write_text(
        json.dumps(dict(fetchNews='false', checkForUpdates=False)))
    return dict(os.environ, PYTHONPATH=str(ROOT), JUPYTER_CONFIG_DIR=str(folder / 'config'),
                JUPYTER_DATA_DIR=str(folder / 'data'),
                JUPYTER_RUNTIME_DIR=str(folder / 'runtime'),
                JUPYTERLAB_SETTINGS_DIR=str(folder / 'settings'),
                JUPYTERLAB_WORKSPACES_DIR=str(folder / 'workspaces'),
                IPYTHONDIR=str(folder / 'ipython'))


@pytest.fixture(scope='session')
def lab(tmp_path_factory):
    """A running JupyterLab, one for the whole run, started as `posebook lab` does: (address, folder)."""
    from posebook.widgets.prompt_server import LAB_OPTION  # takes seconds: it loads the server
    folder = tmp_path_factory.mktemp('lab')
    root = folder / 'root'
    root.mkdir()
    port = free_port()
    log = open(folder / 'lab.log', 'w')
    process = subprocess.Popen(
        [sys.executable, '-m', 'jupyterlab', '--no-browser', f'--port={port}', '--port-retries=0',
         '--LabApp.expose_app_in_browser=True', '--ServerApp.token=', '--ServerApp.password=',
         f'--ServerApp.root_dir={root}', '--allow-root', LAB_OPTION],
        env=lab_settings(folder), stdout=log, stderr=subprocess.STDOUT, cwd=root,
        start_new_session=True)
    url = f'http://127.0.0.1:{port}'
    try:
        wait_for_server(process, url, folder / 'lab.log')
        yield url, root
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the kernels too
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def wait_for_server(process, url, log, seconds=200):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f'{url}/api', timeout=20).read()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f'JupyterLab did not start:\n{log.read_text()[-2000:]}')


def write_notebook(path, cells):
    """The cells, and so much text below them that JupyterLab takes the first one off the page when it is scrolled."""
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
    nb = new_notebook(cells=[new_code_cell(c.strip()) for c in cells])
    nb.cells += [new_markdown_cell(f'# {i}\n\n' + 'text\n\n' * 8) for i in range(12)]
    nb.metadata.kernelspec = dict(name='python3', display_name='python3', language='python')
    write(nb, path)


def opened_notebook(name, cells):
    """A module's fixture: the notebook `name`, run; its widget is on the page and has its first answer.

    `page.problems` collects the page's uncaught errors. The kernel ends with the module.
    """
    @pytest.fixture(scope='module')
    def page(playwright, lab):
        url, root = lab
        write_notebook(root / f'{name}.ipynb', cells)
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=CHROMIUM)
        page = browser.new_page(viewport=dict(width=1400, height=1000))
        page.set_default_timeout(120_000)  # a guard against hanging
        page.problems = []
        page.on('pageerror', lambda e: page.problems.append(str(e)))
        page.goto(f'{url}/lab/tree/{name}.ipynb?reset')  # not what another test file had open
        page.wait_for_selector('.jp-Notebook .jp-Cell')
        page.wait_for_function("window.jupyterapp?.commands.isEnabled('notebook:run-all-cells')")
        # run-all before the kernel is there would do nothing
        page.evaluate('jupyterapp.shell.currentWidget.context.sessionContext.ready')
        page.evaluate("() => { jupyterapp.commands.execute('application:toggle-left-area'); }")
        page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.wait_for_selector('.pb-widget')
        page.evaluate(HELPERS)
        page.wait_for_function('pb().stats.answered > 0')
        page.locator('.pb-widget').scroll_into_view_if_needed()
        yield page
        page.evaluate('jupyterapp.shell.currentWidget.context.sessionContext.shutdown()')
        browser.close()
    return page


def widget_at_rest(page_fixture='page'):
    """A fixture: the page with the widget as it was first, in view, at rest."""
    @pytest.fixture
    def widget(request):
        page = request.getfixturevalue(page_fixture)
        page.set_viewport_size(dict(width=1400, height=1000))
        page.locator('.pb-widget').scroll_into_view_if_needed()
        page.locator('.pb-widget .pb-reset').click()
        page.mouse.move(5, 5)
        page.evaluate('settled()')
        return page
    return widget


# In the page: pb() is the widget's debug hook, settled() waits until no answer is outstanding.
HELPERS = '''() => {
  window.pb = () => document.querySelector('.pb-widget').parentElement.__posebook;
  window.frame = () => new Promise(requestAnimationFrame);
  window.settled = async () => {
    for (let before = -1, tries = 0; before !== pb().stats.answered || pb().store.owed?.(); tries += 1) {
      if (tries > 1200) throw new Error('the kernel owes an answer for five minutes');
      before = pb().stats.answered;
      await new Promise((go) => setTimeout(go, 250));
    }
    await frame();
  };
  window.panel = (name) => pb().panels.find((p) => p.name === name);
  /** Where on the page a point of a panel's own space is. */
  window.onPanel = (name, point) => {
    const p = panel(name), rect = p.canvas.getBoundingClientRect(), [x, y] = pb().apply(p.view, point);
    return [rect.left + x, rect.top + y];
  };
  window.pixels = (name) => {
    const c = panel(name).canvas;
    return c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  };
  /** What is at `home` on the page goes round in a circle, a pointer event before every frame, and home again.
   *  Half-way it rests until the kernel has answered. */
  window.dragRound = async (name, home, moves, radius) => {
    const { stats } = pb(), { canvas } = panel(name);
    const event = (type, [x, y]) => canvas.dispatchEvent(new PointerEvent(type,
      { clientX: x, clientY: y, pointerId: 1, button: 0, buttons: 1, bubbles: true, cancelable: true }));
    const move = async (i) => {
      const turn = 2 * Math.PI * i / moves;
      event('pointermove', [home[0] + radius * Math.sin(turn), home[1] + radius * (Math.cos(turn) - 1)]);
      await frame();
    };
    event('pointerdown', home);
    await frame();
    const answered = stats.answered, frameTimes = [];
    let drawn = 0;
    for (let i = 1; i <= moves; i += 1) {
      const before = stats.frames.at(-1), start = performance.now();
      await move(i);
      for (let more = 0; stats.frames.at(-1) === before && more < 5; more += 1) await frame(); // a busy machine skips some
      drawn += stats.frames.at(-1) !== before;
      frameTimes.push(performance.now() - start);
      if (2 * i === moves) {
        await settled();
        window.away = { state: structuredClone(pb().store.state), answered: stats.answered - answered,
          picture: canvas.toDataURL() };
      }
    }
    event('pointerup', home);
    await settled();
    return { moves, drawn, answers: stats.answered - answered, answersHalfway: away.answered,
      moved: JSON.stringify(away.state) !== JSON.stringify(pb().store.state),
      redrawn: away.picture !== canvas.toDataURL(),
      frameTimes, answerTimes: stats.answers.slice(answered - stats.answered) }; // for the benchmarks
  };
}'''


def state(page):
    return page.evaluate('pb().store.state')


def answer(page):
    """The kernel's last answer, without its bytes."""
    return page.evaluate('''async () => { await settled();
        return Object.fromEntries(Object.entries(pb().store.answer).filter(([, v]) => !(v instanceof DataView))); }''')


def same_picture(a, b):
    """Equal but for the smoothing of edges, which Chromium may change between two readings."""
    gap = np.abs(np.subtract(a, b))
    return len(a) == len(b) and (gap > 40).mean() < 1e-3


def drawn(page, name):
    """What a panel shows, (H, W, 3) BGR uint8 in canvas pixels."""
    url = page.evaluate('n => panel(n).canvas.toDataURL()', name)
    png = np.frombuffer(base64.b64decode(url.split(',')[1]), np.uint8)
    return cv2.imdecode(png, cv2.IMREAD_COLOR)


def drag(page, start, by, steps=12):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0], start[1] + by[1], steps=steps)
    page.mouse.up()


def run_cell(page, index, file, seconds=100):
    """Run a cell that writes `file` (a Path, JSON) and return what it wrote: what Python sees."""
    file.unlink(missing_ok=True)
    page.evaluate('''async (index) => { await settled();
        const nb = jupyterapp.shell.currentWidget.content; nb.activeCellIndex = index;
        nb.deselectAll(); await jupyterapp.commands.execute('notebook:run-cell'); }''', index)
    end = time.monotonic() + seconds
    while True:
        try:
            return json.loads(file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            assert time.monotonic() < end, 'the kernel wrote nothing'
            time.sleep(0.1)


def scroll_away_and_back(page):
    """JupyterLab takes the widget's cell off the page and puts it back."""
    page.evaluate('''async () => { const nb = jupyterapp.shell.currentWidget.content;
        await nb.scrollToItem(nb.widgets.length - 1); await settled();
        await nb.scrollToItem(0); await settled(); }''')
    page.locator('.pb-widget').scroll_into_view_if_needed()
    page.evaluate('settled()')


def set_theme(page, theme):
    """'JupyterLab Dark' or 'JupyterLab Light'."""
    page.evaluate("t => jupyterapp.commands.execute('apputils:change-theme', { theme: t })", theme)
    page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str('Light' in theme).lower()}'")
    page.evaluate('frame().then(frame)')


def drag_round(page, panel, home, moves=60, radius=40):
    """Lead what is at `home` on the page round in a circle; what was drawn and answered on the way.

    Every move is drawn, whether the kernel keeps up or not. It is asked for the newest position only, so it
    answers at most once a move, and in the end for the last.
    """
    found = page.evaluate('a => dragRound(...a)', [panel, home, moves, radius])
    assert found['drawn'] == moves, found
    assert 1 <= found['answersHalfway'] < found['answers'] <= moves + 2, found
    assert found['moved'] and found['redrawn'], found
    return found


def unnamed_controls(page):
    """Controls and panels that a screen reader could not name."""
    return page.evaluate("""() => [...document.querySelectorAll('.pb-widget :is(select, input, canvas, button)')]
        .filter((e) => !e.closest('[aria-hidden=true]')) // pictures beside a text that says it all
        .filter((e) => !(e.ariaLabel || e.closest('label')?.textContent.trim() || e.textContent.trim()))
        .map((e) => e.outerHTML)""")


def cut_captions(page):
    """Captions of panels that are wider than their place."""
    return page.evaluate('''() => [...document.querySelectorAll('.pb-widget figcaption')]
        .filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent)''')


def check_themes(page, selector):
    """The widget follows JupyterLab's theme, there and back."""
    background = f"getComputedStyle(document.querySelector('{selector}')).backgroundColor"
    light = page.evaluate(background)
    for theme in ('JupyterLab Dark', 'JupyterLab Light'):
        set_theme(page, theme)
        assert (page.evaluate(background) == light) == ('Light' in theme), theme


def check_width(page, selector, width):
    """On a page of this width the widget is no wider than its cell, and no caption is cut off."""
    page.set_viewport_size(dict(width=width, height=1000))
    page.evaluate('settled()')
    assert cut_captions(page) == [], width
    assert page.evaluate(f"(e => e.scrollWidth <= e.clientWidth)(document.querySelector('{selector}'))"), width
