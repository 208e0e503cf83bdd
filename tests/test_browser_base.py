"""The small widget that chapter 801 builds, in a real Chromium: what canvas.js promises to every widget."""
import nbformat
import pytest

from widget_lab import (ROOT, answer, cut_captions, drag, drag_round, drawn, opened_notebook, run_cell, same_picture,
                        scroll_away_and_back, state, unnamed_controls, widget_at_rest)

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def chapter_cells(*starts):
    """The code cells of the chapter that start so."""
    nb = nbformat.read(ROOT / 'nbs/8_widgets/801_widget_base.ipynb', as_version=4)
    found = [next(c.source for c in nb.cells if c.source.startswith(s)) for s in starts]
    return '\n\n'.join(found)


NOTEBOOK = ['''
import dataclasses
import numpy as np
from matplotlib import pyplot as plt
from posebook.widgets.base import COLORS, PoseWidget, WidgetSettings, join_script, join_style

''' + chapter_cells('@dataclasses.dataclass(frozen=True, eq=False)\nclass LoupeSettings', 'LOUPE_JS = ')
            + '\n\n' + chapter_cells('class Loupe(').rsplit('loupe = ', 1)[0] + '''
image = np.full((96, 128, 3), (10, 20, 30), np.uint8)
image[:, 64:] = 200, 100, 50
loupe = Loupe(image, (30, 40), radius=8)
loupe
''', '''
import json
open('loupe.json', 'w').write(json.dumps(loupe.settings.to_dict()));
''', '''
import time
plain = Loupe._answer if 'plain' not in globals() else plain

def slow_once(self):
    Loupe._answer = plain
    time.sleep(6)
    return plain(self)

if 'ready' in globals():   # not yet when all cells are run
    Loupe._answer = slow_once
ready = True
open('slow.json', 'w').write('1');
''']

page = opened_notebook('loupe', NOTEBOOK)
widget = widget_at_rest('page')


def test_the_ring_is_dragged_and_python_answers(widget, lab):
    scale = widget.evaluate("panel('image').view[0]")
    drag(widget, widget.evaluate("onPanel('image', [30, 40])"), (60 * scale, 10 * scale))
    assert state(widget)['point'] == pytest.approx([90, 50], abs=1)
    assert answer(widget)['color'] == [200, 100, 50]
    assert widget.locator('[data-fact=color]').inner_text() == '200, 100, 50'
    assert run_cell(widget, 1, lab[1] / 'loupe.json')['point'] == pytest.approx(state(widget)['point'])
    left, right = drawn(widget, 'image')[20, [20, -20]]
    assert (left == (10, 20, 30)).all() and (right == (200, 100, 50)).all()
    assert widget.problems == []


def test_keys_move_by_a_pixel_and_jupyterlab_sees_none(widget):
    cells = widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length')
    widget.locator('[data-panel=image]').focus()
    for key in ('ArrowRight', 'ArrowDown', 'Shift+ArrowRight', 'b', 'd', 'd'):
        widget.keyboard.press(key)
    assert state(widget)['point'] == [41, 41]
    assert widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length') == cells
    widget.wait_for_function("document.querySelector('.pb-live').textContent === 'ring at 41, 41'")
    widget.keyboard.press('Escape')
    assert widget.evaluate('document.activeElement.dataset.key') == 'radius'
    assert unnamed_controls(widget) == [] and cut_captions(widget) == []


def test_a_slow_answer_is_told_and_the_newest_position_wins(widget, lab):
    run_cell(widget, 2, lab[1] / 'slow.json')
    before = widget.evaluate('pb().stats.answered')
    widget.evaluate('() => { for (let x = 20; x < 110; x += 3) pb().store.change({ point: [x, 40] }); }')
    widget.wait_for_function("document.querySelector('.pb-status').textContent.includes('kernel is busy')")
    widget.wait_for_function("document.querySelector('.pb-status').textContent === ''")
    assert answer(widget)['color'] == [200, 100, 50]  # of the last position
    assert widget.evaluate('pb().stats.answered') - before <= 3


def test_redraws_after_it_was_scrolled_away(widget):
    before = widget.evaluate("Array.from(pixels('image'))")
    scroll_away_and_back(widget)
    assert same_picture(widget.evaluate("Array.from(pixels('image'))"), before)


def test_a_drag_is_drawn_at_every_move_and_the_kernel_follows(widget):
    drag_round(widget, 'image', widget.evaluate("onPanel('image', [30, 40])"))
    assert state(widget)['point'] == pytest.approx([30, 40], abs=1)
    assert answer(widget)['color'] == [10, 20, 30]


def test_late_frames_make_it_ask_less_often(widget):
    """On a clock of our own: frames come as late as we say, and the wait before the next request is what is asked for."""
    waits = widget.evaluate("""async () => {
        const { store } = pb(), { requestAnimationFrame: nextFrame, setTimeout: later } = window;
        const clock = performance.now();
        let fake = clock + 1000, last = 0, gap = 16, waits = [];
        performance.now = () => clock; // stands still: the rest of a wait is all of it
        window.requestAnimationFrame = (draw) => nextFrame((now) => {
            if (now !== last) [last, fake] = [now, fake + gap];
            draw(fake);
        });
        window.setTimeout = (call, ms, ...rest) => {
            if (call.name === 'send') waits.push(ms);
            return later(call, ms, ...rest);
        };
        const drag = async (frames, late) => {
            [gap, waits] = [late, []];
            for (let i = 0; i < frames; i += 1) {
                store.change({ point: [10 + i, 40] });
                await frame();
            }
            while (store.owed()) await frame();
            return waits.at(-1);
        };
        try {
            return [await drag(40, 33), await drag(40, 16), await drag(40, 33)];
        } finally {
            delete performance.now;
            [window.requestAnimationFrame, window.setTimeout] = [nextFrame, later];
        }
    }""")
    late, calm, late_again = waits
    assert late == late_again == 120 and 80 < calm < 120  # milliseconds; 40 if nothing was ever late
    assert answer(widget)['color'] == [10, 20, 30]  # of the last position
