"""The small widget that chapter 801 builds, in a real Chromium: what canvas.js promises to every widget."""
import pytest

from book import sources
from widget_checks import (check_grey_after_restart, check_names,
                           spoken)
from widget_lab import (ROOT, answer, cut_captions, drag, drag_round, drawn, opened_notebook, run_cell, same_picture,
                        scroll_away_and_back, state, unnamed_controls, widget_at_rest)

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def chapter_cells(*starts):
    """The code cells of the chapter that start so."""
    cells = sources(ROOT / 'nbs/8_widgets/801_widget_base.ipynb')
    found = [next(c for c in cells if c.startswith(s)) for s in starts]
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


def test_every_control_has_a_name_of_its_own(widget):
    widget.evaluate('pb().store.change({ radius: 9 })')  # so that its reset is on the page
    widget.evaluate('settled()')
    names = check_names(widget)
    assert names['slider'] == ['radius'] and 'image space' in names['application'][0]
    assert {'undo', 'redo', 'reset', 'present', 'reset radius'} <= set(names['button'])


def test_a_slider_is_spoken(widget):
    slider = widget.locator('[data-key=radius]')
    slider.focus()
    widget.keyboard.press('ArrowRight')
    widget.keyboard.press('ArrowRight')
    assert spoken(widget) == 'radius 10. ring at 30, 40'
    widget.locator('.pb-undo').click()
    assert spoken(widget) == 'ring at 30, 40'


def test_undo_redo_and_reset_of_one_control(widget):
    scale = widget.evaluate("panel('image').view[0]")
    first = state(widget)
    drag(widget, widget.evaluate("onPanel('image', [30, 40])"), (60 * scale, 10 * scale))
    moved = state(widget)
    widget.locator('[data-key=radius]').focus()
    widget.keyboard.press('ArrowRight')
    assert state(widget)['radius'] == 9
    widget.locator('.pb-undo').click()
    assert state(widget) == moved, 'a slider is one step'
    widget.keyboard.press('Control+z')
    assert state(widget) == first, 'a drag is one step'
    widget.keyboard.press('Control+Shift+z')
    assert state(widget) == moved and answer(widget)['color'] == [200, 100, 50]
    widget.keyboard.press('Control+y')
    assert state(widget)['radius'] == 9 and widget.locator('.pb-redo').is_disabled()
    widget.locator('.pb-one').click()
    assert state(widget) == moved, 'one control was reset, the point stays'
    assert widget.locator('.pb-one').is_hidden()
    widget.locator('.pb-reset').click()
    assert state(widget) == first
    widget.locator('.pb-undo').click()
    assert state(widget) == moved, 'a reset can be undone'
    widget.locator('[data-key=radius]').focus()
    widget.keyboard.press('Home')
    assert state(widget)['radius'] == 1
    widget.keyboard.press('Backspace')
    assert state(widget) == moved


def test_presenter_mode_is_large_and_nothing_is_cut_off(widget):
    widget.set_viewport_size(dict(width=1280, height=720))  # 1080p at 150 %
    widget.locator('.pb-present').click()
    widget.evaluate('settled()')
    box = widget.locator('.pb-widget').bounding_box()
    assert (box['x'], box['y'], box['width'], box['height']) == (0, 0, 1280, 720)
    sizes = widget.evaluate("""() => [...document.querySelectorAll('.pb-widget :is(span, b, dt, dd, h4, label, button, output)')]
        .filter((e) => e.checkVisibility() && e.textContent.trim()).map((e) => parseFloat(getComputedStyle(e).fontSize))""")
    assert min(sizes) >= 17, sizes
    assert widget.evaluate("(e => [e.scrollWidth <= e.clientWidth, e.scrollHeight <= e.clientHeight])"
                           "(document.querySelector('.pb-widget'))") == [True, True]
    widget.keyboard.press('Escape')
    assert widget.locator('.pb-widget').bounding_box()['width'] < 1280


def test_after_a_restart_old_numbers_are_grey(widget):  # the last one: it ends the kernel
    check_grey_after_restart(widget, 'pb().store.change({ point: [90, 40] })')
