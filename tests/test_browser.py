"""SpacesExplorer in a real Chromium on a real JupyterLab, started as `posebook lab` starts it.

What the widget promises is measured here: at least 55 frames a second while dragging, and 95 of 100 answers of the
kernel within 70 ms. Without a browser these tests are skipped, or fail where POSEBOOK_REQUIRE_BROWSER=1.
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
import nbformat
import numpy as np
import pytest

from posebook.structures.spaces import Spaces
from posebook.widgets.prompt_server import LAB_OPTION

pytestmark = [pytest.mark.slow, pytest.mark.browser]

ROOT = Path(__file__).resolve().parent.parent
LEAST_FPS, SLOWEST_MS = 55, 70

NOTEBOOK = ['''
import cv2
import numpy as np
from posebook.datasets.metainfo import COCO, parse_pose_metainfo
from posebook.widgets import SpacesExplorer

rng = np.random.default_rng(0)
image = cv2.resize(rng.integers(60, 200, (12, 16, 3), dtype=np.uint8), (256, 192))
keypoints = np.array([[128, 40], [132, 36], [124, 36], [137, 38], [119, 38], [146, 62], [110, 62],
                      [156, 88], [100, 88], [162, 112], [94, 112], [140, 112], [116, 112], [142, 142],
                      [114, 142], [143, 170], [113, 170]], float)
visible = np.full(17, 2)
visible[[4, 16]] = 1, 0                      # one hidden, one without a label
explorer = SpacesExplorer(image, keypoints, [86, 24, 170, 180], visible, selected=9,
                          metainfo=parse_pose_metainfo(COCO))
explorer
''', '''
import json
seen = dict(keypoint=explorer.settings.keypoints[9].tolist(), bbox=explorer.settings.bbox.tolist(),
            padding=explorer.settings.padding)
open('seen.json', 'w').write(json.dumps(seen));
''']


def missing(what):
    """Skip, or fail where a browser is required."""
    if os.environ.get('POSEBOOK_REQUIRE_BROWSER') == '1':
        pytest.fail(f'{what}, and POSEBOOK_REQUIRE_BROWSER=1')
    pytest.skip(what)


@pytest.fixture(scope='module')
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


@pytest.fixture(scope='module')
def lab(playwright, tmp_path_factory):
    """A running JupyterLab: (address, folder of the notebook)."""
    folder = tmp_path_factory.mktemp('lab')
    root = folder / 'root'
    root.mkdir()
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c.strip()) for c in NOTEBOOK])
    nb.cells += [nbformat.v4.new_markdown_cell(f'# {i}\n\n' + 'text\n\n' * 8) for i in range(12)]
    nb.metadata.kernelspec = dict(name='python3', display_name='python3', language='python')
    nbformat.write(nb, root / 'explorer.ipynb')
    port = free_port()
    log = open(folder / 'lab.log', 'w')
    process = subprocess.Popen(
        [sys.executable, '-m', 'jupyterlab', '--no-browser', f'--port={port}', '--port-retries=0',
         '--LabApp.expose_app_in_browser=True', '--ServerApp.token=', '--ServerApp.password=',
         f'--ServerApp.root_dir={root}', '--allow-root', LAB_OPTION],  # as posebook lab does
        env=lab_settings(folder), stdout=log, stderr=subprocess.STDOUT, cwd=root,
        start_new_session=True)
    url = f'http://127.0.0.1:{port}'
    try:
        wait_for_server(process, url, folder / 'lab.log')
        yield url, root
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the kernels too
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def wait_for_server(process, url, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f'{url}/api', timeout=2).read()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f'JupyterLab did not start:\n{log.read_text()[-2000:]}')


@pytest.fixture(scope='module')
def page(playwright, lab):
    """The notebook, run; the widget is on the page and has its first answer."""
    browser = playwright.chromium.launch(
        executable_path=shutil.which('chromium'),
        args=['--no-sandbox', '--disable-gpu', '--disable-background-networking',
              '--disable-component-update', '--disable-sync', '--no-first-run'])
    page = browser.new_page(viewport=dict(width=1400, height=1000))
    page.set_default_timeout(30_000)
    page.problems = []
    page.on('pageerror', lambda e: page.problems.append(str(e)))
    page.goto(f'{lab[0]}/lab/tree/explorer.ipynb')
    page.wait_for_selector('.jp-Notebook .jp-Cell', timeout=60_000)
    page.wait_for_function("window.jupyterapp?.commands.isEnabled('notebook:run-all-cells')")
    # run-all before the kernel is there would do nothing
    page.evaluate('jupyterapp.shell.currentWidget.context.sessionContext.ready')
    page.evaluate("() => { jupyterapp.commands.execute('application:toggle-left-area'); }")
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector('.pb-spaces', timeout=60_000)
    page.evaluate(HELPERS)
    page.wait_for_function('pb().stats.answered > 0')
    page.locator('.pb-spaces').scroll_into_view_if_needed()
    yield page
    browser.close()


# In the page: pb() is the widget's debug hook, settled() waits until no answer is outstanding.
HELPERS = '''() => {
  window.pb = () => document.querySelector('.pb-spaces').parentElement.__posebook;
  window.frame = () => new Promise(requestAnimationFrame);
  window.settled = async () => {
    let before = -1;
    while (before !== pb().stats.answered) {
      before = pb().stats.answered;
      await new Promise((go) => setTimeout(go, 250));
    }
    await frame();
  };
  window.panel = (space) => pb().panels.find((p) => p.space === space);
  /** Where an image point is on the page, in the panel of a space. */
  window.onPage = (space, point) => {
    const p = panel(space), rect = p.canvas.getBoundingClientRect();
    const [x, y] = pb().apply(p.view, pb().apply(pb().store.maps.from[space], point));
    return [rect.left + x, rect.top + y];
  };
  window.pixels = (space) => {
    const c = panel(space).canvas;
    return c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  };
}'''


@pytest.fixture
def widget(page):
    """The page with the widget as it was first, in view, at rest."""
    page.set_viewport_size(dict(width=1400, height=1000))
    page.locator('.pb-spaces').scroll_into_view_if_needed()
    page.locator('.pb-spaces button').click()
    page.mouse.move(5, 5)
    page.evaluate('settled()')
    return page


def state(page):
    return page.evaluate('pb().store.state')


def answer(page):
    return page.evaluate('''async () => { await settled();
        const { heatmap, ...rest } = pb().store.answer; return rest; }''')


def same_picture(a, b):
    """Equal but for the smoothing of edges, which Chromium may change between two readings."""
    gap = np.abs(np.subtract(a, b))
    return len(a) == len(b) and (gap > 40).mean() < 1e-3


def drag(page, start, by, steps=12):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0], start[1] + by[1], steps=steps)
    page.mouse.up()


def kernel_sees(page, folder):
    """What the second cell finds in Python."""
    seen = folder / 'seen.json'
    seen.unlink(missing_ok=True)
    page.evaluate('''async () => { await settled();
        const nb = jupyterapp.shell.currentWidget.content; nb.activeCellIndex = 1;
        nb.deselectAll(); await jupyterapp.commands.execute('notebook:run-cell'); }''')
    end = time.monotonic() + 10
    while not (seen.exists() and seen.read_text()):
        assert time.monotonic() < end, 'the kernel wrote nothing'
        time.sleep(0.1)
    return json.loads(seen.read_text())


def test_three_panels_are_drawn(widget):
    for space in ('image', 'input', 'output'):
        colours = widget.evaluate('s => new Set(new Uint32Array(pixels(s).buffer)).size', space)
        assert colours > 300, f'{space} panel is empty'
    assert widget.locator('.pb-spaces canvas').count() == 3
    assert widget.problems == []


def test_dragging_a_keypoint_moves_it_everywhere(widget, lab):
    before = state(widget)['keypoints'][9]
    crop = widget.evaluate("Array.from(pixels('input'))")
    scale = widget.evaluate("panel('image').view[0]")
    drag(widget, widget.evaluate("onPage('image', pb().store.state.keypoints[9])"), (40, -30))
    after = state(widget)['keypoints'][9]
    assert after == pytest.approx([before[0] + 40 / scale, before[1] - 30 / scale], abs=0.6)
    assert answer(widget)['point']['image'] == pytest.approx(after, abs=1e-9)
    assert kernel_sees(widget, lab[1])['keypoint'] == pytest.approx(after, abs=1e-9)
    assert widget.evaluate("Array.from(pixels('input'))") != crop
    caption = widget.locator('.pb-image output').text_content()
    assert caption == f'x {after[0]:.2f}  y {after[1]:.2f}'


def test_dragging_the_box_its_corner_and_the_turning_handle(widget):
    x1, y1, x2, y2 = state(widget)['bbox']
    scale = widget.evaluate("panel('image').view[0]")
    drag(widget, widget.evaluate("onPage('image', [92, 160])"), (20, 10))
    assert state(widget)['bbox'] == pytest.approx(
        [x1 + 20 / scale, y1 + 10 / scale, x2 + 20 / scale, y2 + 10 / scale], abs=0.6)
    corner = state(widget)['bbox'][2:]
    drag(widget, widget.evaluate("p => onPage('image', p)", corner), (30, -24))
    assert state(widget)['bbox'][2:] == pytest.approx(
        [corner[0] + 30 / scale, corner[1] - 24 / scale], abs=0.6)
    knob = widget.evaluate('''() => { const r = panel('image').canvas.getBoundingClientRect();
        const [x, y] = panel('image').knob(); return [r.left + x, r.top + y]; }''')
    center = widget.evaluate("onPage('image', pb().store.maps.center)")
    reach = center[1] - knob[1]
    drag(widget, knob, (reach, reach))  # from above to the right: a quarter turn
    assert state(widget)['rotation'] == pytest.approx(90, abs=2)
    assert answer(widget)['center'] == pytest.approx(widget.evaluate('pb().store.maps.center'))


def test_hover_shows_the_point_in_the_other_panels(widget):
    still = {s: widget.evaluate('s => Array.from(pixels(s))', s) for s in ('image', 'input', 'output')}
    for hovered in ('image', 'input', 'output'):
        widget.mouse.move(*widget.evaluate("s => onPage(s, [128, 78])", hovered))
        widget.evaluate('frame().then(frame)')
        assert widget.evaluate('pb().store.probe.point') == pytest.approx([128, 78], abs=1.5)
        for space, before in still.items():
            # the cross starts 4 px right of the point and ends 13 px right of it: a white pixel
            x, y = widget.evaluate('''s => { const p = panel(s), a = pb().apply;
                const [x, y] = a(p.view, a(pb().store.maps.from[s], pb().store.probe.point));
                return [Math.round((x - 9) * p.dpr), Math.round(y * p.dpr)]; }''', space)
            at = widget.evaluate('''([s, x, y]) => Array.from(panel(s).canvas.getContext('2d')
                .getImageData(x, y - 1, 1, 3).data)''', [space, x, y])
            assert max(min(at[i:i + 3]) for i in (0, 4, 8)) > 200, (hovered, space, at)
    widget.mouse.move(5, 5)
    widget.evaluate('frame().then(frame)')
    for space, before in still.items():
        assert same_picture(widget.evaluate('s => Array.from(pixels(s))', space), before)


def test_keyboard_reaches_everything(widget):
    cells = widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length')
    canvas = widget.locator('[data-panel=image]')
    canvas.focus()
    x, y = state(widget)['keypoints'][9]
    for key in ('ArrowRight', 'ArrowDown', 'Shift+ArrowRight', 'Shift+ArrowUp'):
        widget.keyboard.press(key)
    assert state(widget)['keypoints'][9] == pytest.approx([x + 11, y - 9])
    widget.keyboard.press(']')
    widget.keyboard.press('Shift+]')
    widget.keyboard.press('[')
    assert state(widget)['rotation'] == pytest.approx(10)
    seen = []
    for _ in range(12):  # the keypoints after the left wrist, the box, its corners, the handle
        seen.append('-'.join(map(str, widget.evaluate('pb().store.handle'))))
        if seen[-1] in ('box-0', 'corner-2'):
            before = state(widget)['bbox']
            widget.keyboard.press('ArrowLeft')
            moved = [-1, 0, -1, 0] if seen[-1] == 'box-0' else [0, 0, -1, 0]
            assert state(widget)['bbox'] == pytest.approx([b + m for b, m in zip(before, moved)])
        widget.keyboard.press('Tab')
    assert seen == [f'point-{i}' for i in range(9, 16)] + ['box-0'] + [f'corner-{i}' for i in range(4)]
    assert widget.evaluate('pb().store.handle[0]') == 'turn'
    widget.keyboard.press('ArrowRight')
    assert state(widget)['rotation'] == pytest.approx(11)
    widget.keyboard.press('Tab')  # past the last handle: on to the next panel
    assert widget.evaluate('document.activeElement.dataset.panel') == 'input'
    widget.keyboard.press('Shift+ArrowRight')
    assert widget.evaluate('pb().store.probe') is not None
    for key in ('b', 'x', 'd', 'd', 'm'):  # JupyterLab's shortcuts stay out
        widget.keyboard.press(key)
    assert widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length') == cells
    widget.keyboard.press('Escape')
    assert widget.evaluate('document.activeElement.dataset.key') == 'selected'
    widget.wait_for_function("document.querySelector('.pb-live').textContent.includes('output')")
    for element in widget.locator('.pb-spaces :is(select, input, canvas)').all():
        named = element.evaluate("e => e.ariaLabel || e.closest('label')?.textContent.trim()")
        assert named, 'a control without a name'


def test_controls_change_what_the_kernel_computes(widget):
    widget.locator('[data-key=padding]').fill('1.5')
    assert answer(widget)['scale'][0] == pytest.approx(1.5 * 156 * 0.75)
    widget.locator('[data-key=input_size]').select_option('[288,384]')
    assert answer(widget)['shape'] == [96, 72]  # the stride stays
    widget.locator('[data-key=heatmap_size]').select_option('[36,48]')
    assert answer(widget)['shape'] == [48, 36]
    assert answer(widget)['channel'] == 9
    widget.locator('[data-key=flip]').check()
    assert answer(widget)['channel'] == 10
    coarse = answer(widget)['mean_error']
    widget.locator('[data-key=unbiased]').check()
    assert answer(widget)['mean_error'] < coarse / 5
    widget.locator('[data-key=show_all]').check()
    assert state(widget)['show_all']
    widget.locator('[data-key=selected]').select_option('16')  # the one without a label
    assert answer(widget)['decoded'] is None
    assert 'no label' in widget.locator('[data-fact=error]').inner_text()
    widget.locator('.pb-spaces button').click()
    assert answer(widget)['shape'] == [64, 48] and state(widget)['padding'] == 1.25


def test_browser_and_kernel_agree_on_the_maps(widget):
    """To 1e-3 px at every corner of the picture, for turned, mirrored, padded, UDP crops."""
    gap = widget.evaluate('''async () => {
      let worst = 0, seed = 1;
      const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
      const sizes = [[[192, 256], [48, 64]], [[256, 256], [64, 64]], [[96, 128], [48, 32]]];
      for (let i = 0; i < 48; i++) {
        const [input_size, heatmap_size] = sizes[i % 3], x = 200 * random(), y = 120 * random();
        pb().store.change({ input_size, heatmap_size, bbox: [x, y, x + 9 + 90 * random(), y + 9 + 90 * random()],
          padding: 1 + random(), rotation: 360 * random() - 180, flip: i % 2 > 0, use_udp: i % 4 > 1 });
        const before = pb().stats.answered, { state, maps } = pb().store;
        while (pb().stats.answered === before) await frame();
        const theirs = pb().store.answer, { apply } = pb();
        for (const p of [[0, 0], [255, 0], [255, 191], [0, 191]]) {
          const [a, b] = [apply(theirs.matrix, p), apply(maps.from.input, p)];
          worst = Math.max(worst, Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1]));
        }
        for (const space of ['input', 'output']) {
          const ours = apply(maps.from[space], state.keypoints[state.selected]);
          worst = Math.max(worst, ...ours.map((v, k) => Math.abs(v - theirs.point[space][k])));
        }
        for (const k of ['center', 'scale']) {
          worst = Math.max(worst, ...maps[k].map((v, n) => Math.abs(v - theirs[k][n])));
        }
      }
      return worst; }''')
    assert gap < 1e-3


def test_the_crop_in_the_browser_is_the_crop_of_the_library(widget):
    """The canvas transform draws what cv2.warpAffine draws, but for the lines drawn over it."""
    url = widget.evaluate('''async () => {
      pb().store.change({ rotation: 25, padding: 1.1, flip: true });
      await settled();
      return panel('input').canvas.toDataURL(); }''')
    png = np.frombuffer(base64.b64decode(url.split(',')[1]), np.uint8)
    drawn = cv2.resize(cv2.imdecode(png, cv2.IMREAD_COLOR), (192, 256), interpolation=cv2.INTER_AREA)
    scene = {}
    exec(NOTEBOOK[0].rsplit('explorer = ', 1)[0], scene)
    spaces = Spaces.from_bbox([86, 24, 170, 180], (192, 256), (48, 64), 1.1, 25, flip=True)
    gap = np.abs(drawn.astype(int) - spaces.crop(scene['image'])).max(axis=2)
    assert np.median(gap) <= 3
    assert (gap > 25).mean() < 0.15  # limbs, points and the box


def test_a_bad_request_is_reported_and_forgotten(widget):
    widget.evaluate('pb().store.change({ sigma: -1 })')
    widget.wait_for_function("document.querySelector('.pb-status').textContent.includes('sigma')")
    widget.evaluate('pb().store.change({ sigma: 2 })')
    widget.wait_for_function("document.querySelector('.pb-status').textContent === ''")


def test_dark_theme_and_narrow_page(widget):
    background = "getComputedStyle(document.querySelector('.pb-spaces')).backgroundColor"
    light = widget.evaluate(background)
    for theme in ('JupyterLab Dark', 'JupyterLab Light'):
        widget.evaluate("t => jupyterapp.commands.execute('apputils:change-theme', { theme: t })", theme)
        widget.wait_for_function(f"document.body.dataset.jpThemeLight === '{str('Light' in theme).lower()}'")
        widget.wait_for_timeout(300)
        now = widget.evaluate(background)
        assert (now == light) == ('Light' in theme)
    tops = "[...document.querySelectorAll('.pb-spaces canvas')].map(c => c.getBoundingClientRect().top)"
    assert len({round(t) for t in widget.evaluate(tops)}) == 1  # side by side
    widget.set_viewport_size(dict(width=560, height=1000))
    widget.evaluate('settled()')
    image, crop, output = widget.evaluate(tops)
    assert image < crop == output  # the image above the two others
    wide = "(e => e.scrollWidth <= e.clientWidth)(document.querySelector('.pb-spaces'))"
    assert widget.evaluate(wide), 'the widget is wider than its cell'
    assert widget.evaluate("panel('image').width") > 250


@pytest.mark.parametrize('width', [1400, 1150, 900, 700, 560])
def test_no_coordinate_is_cut_off(widget, width):
    widget.set_viewport_size(dict(width=width, height=1000))
    widget.evaluate('settled()')
    cut = widget.evaluate('''() => [...document.querySelectorAll('.pb-spaces figcaption')]
        .filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent)''')
    assert cut == []


def test_redraws_after_it_was_scrolled_away(widget):
    before = widget.evaluate("Array.from(pixels('output'))")
    widget.evaluate('''async () => { const nb = jupyterapp.shell.currentWidget.content;
        await nb.scrollToItem(nb.widgets.length - 1); await settled();
        await nb.scrollToItem(0); await settled(); }''')
    widget.locator('.pb-spaces').scroll_into_view_if_needed()
    widget.evaluate('settled()')
    assert same_picture(widget.evaluate("Array.from(pixels('output'))"), before)


DRAG = '''async (seconds) => {
  // A pointer event before every frame: the keypoint goes round in circles.
  const { store, stats } = pb(), { canvas } = panel('image');
  const event = (type, [x, y]) => canvas.dispatchEvent(new PointerEvent(type,
    { clientX: x, clientY: y, pointerId: 1, button: 0, buttons: 1, bubbles: true, cancelable: true }));
  const home = onPage('image', store.state.keypoints[store.state.selected]);
  event('pointerdown', home);
  await frame();
  for (const list of [stats.frames, stats.answers, stats.lags]) list.length = 0;
  const ticks = [], start = performance.now();
  for (let t = 0; t < seconds * 1000; t = performance.now() - start) {
    event('pointermove', [home[0] + 40 * Math.sin(t / 300), home[1] + 40 * Math.cos(t / 300) - 40]);
    ticks.push(await frame());
  }
  const took = (performance.now() - start) / 1000, frames = stats.frames.length;
  event('pointerup', home);
  await settled();
  const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.floor(q * (list.length - 1))];
  return { fps: frames / took, frames, answers: stats.answers.length,
    p50: quantile(stats.answers, 0.5), p95: quantile(stats.answers, 0.95),
    lag95: quantile(stats.lags, 0.95), agreement: stats.agreement };
}'''


def measure(page, tries=3):
    """The best of some drags of 3 s: another program on the machine may disturb one of them."""
    best = None
    for _ in range(tries):
        now = page.evaluate(DRAG, 3)
        print({k: round(v, 3) for k, v in now.items()})
        if best is None or now['fps'] - now['p95'] > best['fps'] - best['p95']:
            best = now
        if best['fps'] >= LEAST_FPS and best['p95'] <= SLOWEST_MS:
            break
    return best


def test_a_drag_is_smooth_and_the_kernel_keeps_up(widget):
    found = measure(widget)
    assert found['fps'] >= LEAST_FPS, found
    assert found['p95'] <= SLOWEST_MS, found
    assert found['answers'] > 40, found  # the heatmap really followed
    assert found['agreement'] < 1e-3, found
