"""A widget in Chromium without JupyterLab: its own page, with this process as the kernel.

For what does not depend on Jupyter: names, hostile text, layout, touch, undo. A second a page instead of ten.

    page = open_widget(chromium, widget)     # `chromium` is a fixture of this file: import it
"""
import json
import shutil

import pytest

from posebook.widgets.base import _travelling
from widget_lab import CHROMIUM, HELPERS

MODEL = "set() {}, save_changes() {}, on() {}, off() {} };"
KERNEL = """set(name, value) { traits[name] = value; }, off() {}, on(event, f) { (heard[event] ??= []).push(f); },
  async save_changes() { take(await window.kernel(JSON.stringify(traits.request))); } };
const heard = {}, take = (text) => {
  for (const [name, value] of Object.entries(JSON.parse(text, reviver))) {
    traits[name] = value;
    for (const f of heard[`change:${name}`] ?? []) f();
  }
};
window.take = take;"""


@pytest.fixture(scope='module')
def chromium(playwright):
    browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=CHROMIUM)
    yield browser
    browser.close()


def page_of(widget, path):
    """The widget's own page, with a model that asks `window.kernel`."""
    text = widget.save_html(path).read_text()
    reviver = '(key, value) => (value && value.base64 !== undefined ? bytes(value.base64) : value)'
    assert MODEL in text and reviver in text
    text = text.replace(MODEL, KERNEL).replace(reviver, 'reviver').replace('"alone": true', '"alone": false')
    text = text.replace('const traits =', f'const reviver = {reviver};\nconst traits =')
    path.write_text(text)
    return path


def open_widget(chromium, widget, folder, width=1280, height=900, dark=False, **options):
    """The page of a widget; `page.problems` collects errors. `options` are those of a browser context."""
    context = chromium.new_context(viewport=dict(width=width, height=height), offline=True, **options)
    page = context.new_page()
    page.problems = []
    page.on('pageerror', lambda e: page.problems.append(str(e)))
    page.on('dialog', lambda d: (page.problems.append(f'dialog {d.message}'), d.dismiss()))

    def kernel(request):
        widget.request = json.loads(request)
        return json.dumps(_travelling(dict(result=widget.result)))

    page.expose_function('kernel', kernel)
    page.goto(page_of(widget, folder / f'{type(widget).__name__}.html').as_uri())
    page.evaluate(HELPERS)
    page.wait_for_selector('.pb-widget')
    page.wait_for_function('pb().stats.answered > 0')
    if dark:
        page.add_style_tag(content=':root { --jp-layout-color1: #111; --jp-layout-color2: #2a2a2a; --jp-border-color2: #555;'
                           '--jp-ui-font-color1: #eee; --jp-ui-font-color2: #bbb; } body { background: #111; }')
    return page
