"""What is left of a widget where its kernel is not: a notebook opened again, an HTML page, an embedded view.

In a real Chromium; the pages are read without a network, as on a train.
"""
import base64
import json
import re
import shutil
import subprocess
import sys

import pytest

from book import read
from widget_lab import CHROMIUM, PERSON, opened_notebook, write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.browser]

NOTEBOOK = [PERSON + '''
from posebook.widgets import SpacesExplorer
explorer = SpacesExplorer(image, keypoints, [86, 24, 170, 180], visible, selected=9,
                          metainfo=parse_pose_metainfo(COCO))
explorer
''']

page = opened_notebook('saved', NOTEBOOK)

SEEN = """() => {
    const seen = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility()).length;
    const image = document.querySelector('.pb-standin img');
    return { live: seen('.pb-widget'), picture: seen('.pb-standin img'), width: image?.naturalWidth ?? 0,
      error: [...document.querySelectorAll('.jp-OutputArea-output')].filter((e) => e.checkVisibility()
        && e.textContent.includes('model not found')).length };
}"""


@pytest.fixture(scope='module')
def browser(playwright):
    browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=CHROMIUM)
    yield browser
    browser.close()


def offline(browser, path):
    """A page from a file, in a browser that reaches nothing else."""
    context = browser.new_context(offline=True, viewport=dict(width=1280, height=1000))
    page = context.new_page()
    page.problems = []
    page.on('pageerror', lambda e: page.problems.append(str(e)))
    page.goto(path.as_uri(), wait_until='load')
    return page


def test_the_live_widget_takes_the_pictures_place(page):
    seen = page.evaluate(SEEN)
    assert seen['live'] == 1 and seen['picture'] == 0 and seen['error'] == 0, seen


def test_a_saved_notebook_opens_with_its_picture(page, lab):
    url, root = lab
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    outputs = read(root / 'saved.ipynb').cells[0].outputs
    assert 'image/png' in outputs[0].data and outputs[0].data['text/plain'].startswith('SpacesExplorer(')
    page.evaluate('jupyterapp.shell.currentWidget.context.sessionContext.shutdown()')
    page.goto(f'{url}/lab/tree/saved.ipynb?reset')  # a new page and a new kernel, as after a restart of the server
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.context")
    page.evaluate('jupyterapp.shell.currentWidget.context.sessionContext.ready')
    page.wait_for_function("document.body.textContent.includes('model not found')")  # JupyterLab has given up, out of sight
    seen = page.evaluate(SEEN)
    assert seen['live'] == 0 and seen['picture'] == 1 and seen['width'] > 500 and seen['error'] == 0, seen
    box = page.locator('.pb-standin img').bounding_box()
    assert box['width'] > 500 and box['height'] > 150, box
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")  # and alive again
    page.wait_for_selector('.pb-widget')
    page.wait_for_function(f"({SEEN})().picture === 0")


def test_nbconvert_keeps_the_picture(browser, tmp_path):
    write_notebook(tmp_path / 'executed.ipynb', NOTEBOOK)
    subprocess.run([sys.executable, '-m', 'nbconvert', '--to', 'html', '--execute', 'executed.ipynb'], cwd=tmp_path,
                   check=True, capture_output=True)
    page = offline(browser, tmp_path / 'executed.html')
    seen = page.evaluate(SEEN)
    assert seen['picture'] == 1 and seen['width'] > 500 and seen['error'] == 0, seen
    page.context.close()


@pytest.fixture(scope='module')
def explorer():
    scene = {}
    exec(NOTEBOOK[0], scene)
    return scene['explorer']


def test_a_page_of_its_own_plays_without_kernel_and_network(browser, explorer, tmp_path):
    page = offline(browser, explorer.save_html(tmp_path / 'page.html'))
    page.wait_for_selector('.pb-widget')
    seen = page.evaluate(SEEN)
    assert seen['live'] == 1 and seen['picture'] == 0 and page.problems == [], seen
    assert 'px input' in page.locator('[data-fact=error]').inner_text()  # what Python knew
    assert page.locator('.pb-status').inner_text() == ''
    before = page.locator('[data-fact=matrix]').inner_text()
    page.locator('[data-key=rotation]').focus()
    page.keyboard.press('ArrowRight')
    assert page.locator('[data-fact=matrix]').inner_text() != before  # what the browser computes
    page.wait_for_function("document.querySelector('.pb-stale') !== null")
    assert 'no kernel' in page.locator('.pb-status').inner_text()
    page.keyboard.press('Control+z')
    page.wait_for_function("document.querySelector('.pb-stale') === null")
    page.context.close()


# a widget manager that knows no more than what the page of ipywidgets holds; the real one comes from the network
MANAGER = """async ([state, id]) => {
    const own = state[id].state, bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    for (const { path, data } of state[id].buffers ?? []) {
        const [last, ...rest] = [...path].reverse();
        rest.reverse().reduce((at, key) => at[key], own)[last] = bytes(data);
    }
    const model = { get: (name) => own[name], set(name, value) { own[name] = value; }, save_changes() {}, on() {}, off() {} };
    const made = (await import(URL.createObjectURL(new Blob([own._esm], { type: 'text/javascript' })))).default;
    const widget = typeof made === 'function' ? await made() : made, el = document.createElement('div');
    document.body.append(el);
    await widget.initialize({ model });
    await widget.render({ model, el });
}"""


def test_an_embedded_view_has_all_that_it_shows(browser, explorer, tmp_path):
    from ipywidgets.embed import dependency_state, embed_minimal_html
    embed_minimal_html(tmp_path / 'embedded.html', views=[explorer], state=dependency_state(explorer))
    text = (tmp_path / 'embedded.html').read_text()
    state, view = (json.loads(re.search(rf'<script type="application/vnd.jupyter.widget-{kind}\+json">(.*?)</script>', text,
                                        re.DOTALL)[1]) for kind in ('state', 'view'))
    page = offline(browser, tmp_path / 'embedded.html')
    page.evaluate(MANAGER, [state['state'], view['model_id']])
    page.wait_for_selector('.pb-widget canvas')
    page.wait_for_timeout(2500)
    assert 'px input' in page.locator('[data-fact=error]').inner_text()
    assert page.locator('.pb-status').inner_text() == '' and page.locator('.pb-stale').count() == 0
    drawn = page.evaluate("document.querySelector('[data-panel=output]').toDataURL()")
    assert len(base64.b64decode(drawn.split(',')[1])) > 3000
    page.context.close()
