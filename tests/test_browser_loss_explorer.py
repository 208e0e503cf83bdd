"""LossExplorer in a real Chromium on a real JupyterLab: dragged, typed at, trained."""
import numpy as np
import pytest

import widget_lab
from widget_checks import check_grey_after_restart, check_names, spoken
from widget_lab import (check_themes, check_width, drag, drag_round, drawn, opened_notebook, run_cell, same_picture,
                        scroll_away_and_back, state, unnamed_controls, widget_at_rest)

pytestmark = [pytest.mark.slow, pytest.mark.browser]

NOTEBOOK = ['''
import json
from posebook.widgets import LossExplorer
explorer = LossExplorer()
explorer
''', '''
seen = dict(point=explorer.settings.point.tolist(), loss=explorer.settings.loss, value=explorer.result['value'])
open('losses.json', 'w').write(json.dumps(seen));
''', '''
if 'ready' in globals():   # not yet when all cells are run
    explorer.update(loss='AdaptiveWingLoss', point=(30, 60))
ready = True
open('updated.json', 'w').write(json.dumps(repr(explorer)));
''', '''
explorer.update(loss='SmoothL1Loss', point=(70, 34))
open('back.json', 'w').write('1');
''']

page = opened_notebook('losses', NOTEBOOK)
widget = widget_at_rest('page')
PANELS = ('plane', 'curves', 'detail')


def answer(widget):
    """The kernel's answer to the present state: a new landscape may take longer than `settled` waits."""
    widget.wait_for_function('''() => { const { state: s, answer, shown, scene } = pb().store;
        const off = Math.hypot(s.point[0] - scene.truth[0], s.point[1] - scene.truth[1]);
        return shown.key === [s.loss, s.unit, s.sigma, s.step, s.height].join() && Math.abs(answer.distance - off) < 1e-6; }''')
    return widget_lab.answer(widget)


def choose(widget, loss):
    widget.locator('[data-key=loss]').select_option(f'"{loss}"')
    return answer(widget)


def fact(widget, key):
    return widget.locator(f'[data-fact={key}]').inner_text()


def shown_controls(widget):
    return widget.evaluate("[...document.querySelectorAll('.pb-widget [data-key]')].filter(e => e.offsetParent).map(e => e.dataset.key)")


def test_all_panels_are_drawn(widget):
    for name in PANELS:
        assert len(np.unique(drawn(widget, name).reshape(-1, 3), axis=0)) > 30, name
    assert float(fact(widget, 'value')) == pytest.approx((21.5 + 13.5) / 2, abs=0.06)  # smooth L1 is |e| - 1/2 out there
    assert fact(widget, 'slope') == '0.5, -0.5'
    assert widget.problems == []


def test_a_drag_moves_the_prediction(widget, lab):
    first, landscape = answer(widget), drawn(widget, 'plane')
    start, zoom = widget.evaluate("onPanel('plane', pb().store.state.point)"), widget.evaluate("panel('plane').view[0]")
    drag(widget, start, (-60, 40))
    now, point = answer(widget), state(widget)['point']
    assert point == pytest.approx([70 - 60 / zoom, 34 + 40 / zoom], abs=0.3)
    assert now['value'] < first['value'] and now['distance'] < first['distance']
    assert not same_picture(drawn(widget, 'plane'), landscape)
    seen = run_cell(widget, 1, lab[1] / 'losses.json')
    assert seen['point'] == pytest.approx(point) and seen['value'] == pytest.approx(now['value'])
    drag(widget, start, (2000, 0))  # stays in the crop
    assert state(widget)['point'][0] == 95


@pytest.mark.parametrize('loss, controls, space', [
    ('WingLoss', ['unit'], 'input'), ('OKSLoss', ['unit'], 'input'), ('RLELoss', ['sigma', 'step'], 'detail'),
    ('KeypointMSELoss', ['height', 'map'], 'output'), ('FocalHeatmapLoss', ['height', 'map'], 'output')])
def test_every_kind_has_its_controls_and_its_detail(widget, loss, controls, space):
    before = [drawn(widget, name) for name in PANELS]
    found = choose(widget, loss)
    assert sorted(shown_controls(widget)) == sorted(['loss', *controls])
    assert f'pb-{space}' in widget.evaluate("panel('detail').canvas.parentElement.className")
    for name, old in zip(PANELS, before):
        assert drawn(widget, name).shape != old.shape or not same_picture(drawn(widget, name), old), name
    assert np.isfinite(found['value']) and found['landscape']['low'] < found['landscape']['high']
    assert widget.locator('.pb-status').inner_text() == '' and widget.problems == []


def test_the_unit_changes_the_loss(widget):
    pixels = answer(widget)['value']
    widget.locator('[data-key=unit]').select_option('"fractions"')
    fractions = answer(widget)['value']
    assert fractions == pytest.approx((22**2 + 14**2) / 96**2 / 4, rel=1e-4) and pixels == pytest.approx(17.5)  # a parabola now


def test_the_flow_trains_and_the_loss_turns_negative(widget):
    choose(widget, 'RLELoss')
    widget.locator('.pb-train').click()
    widget.wait_for_function('pb().store.state.step === 1')
    assert widget.locator('.pb-train').inner_text() == 'stop'
    widget.wait_for_function('pb().store.state.step === 8')
    trained = answer(widget)
    widget.wait_for_function("document.querySelector('.pb-train').textContent === 'train the flow'")
    picture = drawn(widget, 'detail')
    widget.locator('[data-key=step]').fill('0')
    answer(widget)
    fresh = drawn(widget, 'detail')
    widget.locator('[data-key=step]').fill('8')
    answer(widget)
    assert same_picture(drawn(widget, 'detail'), picture) and not same_picture(drawn(widget, 'detail'), fresh)
    assert float(fact(widget, 'mean')) < -3 and trained['flow']['mean'] < -3
    widget.locator('[data-key=step]').fill('0')
    assert answer(widget)['flow']['mean'] > trained['flow']['mean'] + 1
    widget.locator('[data-key=sigma]').fill('30')
    assert answer(widget)['flow']['mean'] > 0


def test_maps_of_a_heatmap(widget):
    choose(widget, 'KeypointMSELoss')
    pictures = []
    for name in ('gradient', 'prediction', 'target'):
        widget.locator('[data-key=map]').select_option(f'"{name}"')
        answer(widget)
        pictures.append(drawn(widget, 'detail'))
    assert not any(same_picture(a, b) for a, b in zip(pictures, pictures[1:]))
    high = answer(widget)['value']
    widget.locator('[data-key=height]').fill('0.3')
    assert answer(widget)['value'] < high  # unsure is cheaper than wrong


def test_keyboard(widget):
    cells = widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length')
    widget.locator('[data-panel=plane]').focus()
    for key in ('ArrowLeft', 'Shift+ArrowDown'):
        widget.keyboard.press(key)
    assert answer(widget)['distance'] == pytest.approx(np.hypot(21, 4))
    assert state(widget)['point'] == [69, 44]
    widget.keyboard.press('Enter')
    downhill = answer(widget)
    assert downhill['value'] < (20.5 + 3.5) / 2
    for key in ('b', 'x', 'd', 'd', 'm'):  # JupyterLab's shortcuts stay out
        widget.keyboard.press(key)
    assert widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length') == cells
    widget.wait_for_function("document.querySelector('.pb-live').textContent.includes('pixels off')")
    widget.keyboard.press('Escape')
    assert widget.evaluate('document.activeElement.dataset.key') == 'loss'
    widget.locator('.pb-downhill').click()
    assert answer(widget)['value'] < downhill['value']
    assert unnamed_controls(widget) == []


def test_update_from_python(widget, lab):
    assert 'AdaptiveWingLoss' in run_cell(widget, 2, lab[1] / 'updated.json')
    widget.evaluate('settled()')
    widget.locator('.pb-widget').scroll_into_view_if_needed()
    assert state(widget)['point'] == [30, 60] and widget.locator('[data-key=loss]').input_value() == '"AdaptiveWingLoss"'
    run_cell(widget, 3, lab[1] / 'back.json')
    widget.evaluate('settled()')


def test_a_wrong_setting_is_said_and_forgotten(widget):
    widget.evaluate('pb().store.change({ sigma: 300 })')
    widget.wait_for_function("document.querySelector('.pb-status').textContent.includes('sigma must be between 1 and 40')")
    widget.evaluate('pb().store.change({ sigma: 6 })')
    widget.wait_for_function("document.querySelector('.pb-status').textContent === ''")


def test_themes_and_widths(widget):
    check_themes(widget, '.pb-losses')
    for width in (1400, 1150, 900, 700, 560, 420):
        check_width(widget, '.pb-losses', width)
        assert widget.evaluate("panel('plane').width") > 150


def test_redraws_after_it_was_scrolled_away(widget):
    choose(widget, 'RLELoss')
    before = [widget.evaluate(f"Array.from(pixels('{name}'))") for name in PANELS]
    scroll_away_and_back(widget)
    for name, old in zip(PANELS, before):
        assert same_picture(widget.evaluate(f"Array.from(pixels('{name}'))"), old), name


@pytest.mark.parametrize('loss', ['L1Loss', 'WingLoss', 'RLELoss', 'KeypointMSELoss'])
def test_what_is_said_over_the_crop_is_the_librarys(widget, loss):
    """Lowest and steepest on the page beside numbers of the library at many places."""
    import torch
    from posebook.widgets import LossSettings
    from posebook.widgets.loss_explorer import TRUTH, each_value, values_and_gradients
    choose(widget, loss)
    settings = LossSettings(loss, (70., 34.), 'pixels', 6, 8, .9, 'gradient')
    ticks = np.arange(0, 96, 4.)
    points = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    with torch.no_grad():
        values = each_value(loss, torch.tensor(points, dtype=torch.float32), settings).numpy()
        there = np.array([[float(v) for v in fact(widget, 'where').split(', ')]])
        least = each_value(loss, torch.tensor(there, dtype=torch.float32), settings).item()
    said = float(fact(widget, 'low'))
    assert said <= values.min() + .02 * abs(values.min()) and said == pytest.approx(least, rel=.02, abs=1e-6)
    near = points[np.hypot(*(points - TRUTH).T) < 32]
    slopes = np.hypot(*values_and_gradients(loss, near, settings)[1].T)
    assert float(fact(widget, 'steepest')) >= slopes.max() * .99
    if loss == 'L1Loss':
        assert fact(widget, 'low') == '0' and fact(widget, 'where') == '48.0, 48.0' and fact(widget, 'steepest') == '0.707'


def test_steps_downhill_end_at_the_truth(widget):
    """Wing, whose fixed steps would jump across its kink for ever."""
    choose(widget, 'WingLoss')
    widget.evaluate('pb().store.change({ point: [56.5, 48.2] })')
    values = [answer(widget)['value']]
    widget.locator('[data-panel=plane]').focus()
    for _ in range(60):
        if widget.locator('.pb-downhill').is_disabled():
            break
        widget.keyboard.press('Enter')
        values.append(answer(widget)['value'])
    assert all(b < a for a, b in zip(values, values[1:]))
    assert widget.locator('.pb-downhill').inner_text() == 'no step leads down'
    assert answer(widget)['distance'] < .1 and widget.evaluate('pb().store.trail.length') > 2
    assert spoken(widget).endswith('no step along it leads down')


def test_the_chosen_curve_lies_on_top_and_all_have_labels(widget):
    """Smooth L1 would be hidden by two others that run the same way."""
    widget.evaluate("""() => { const write = CanvasRenderingContext2D.prototype.fillText; window.written = [];
        CanvasRenderingContext2D.prototype.fillText = function (text, ...at) { written.push(text); return write.call(this, text, ...at); }; }""")
    for loss, color in (('SmoothL1Loss', '#D55E00'), ('L1Loss', '#FFFFFF'), ('SoftWeightSmoothL1Loss', '#F0E442')):
        choose(widget, loss)
        rgb = np.array([int(color[i:i + 2], 16) for i in (5, 3, 1)])  # BGR
        same = (np.abs(drawn(widget, 'curves').astype(int) - rgb).max(axis=2) < 40).sum()
        widget.locator('[data-key=loss]').select_option('"MSELoss"')
        answer(widget)
        assert same > 1.5 * (np.abs(drawn(widget, 'curves').astype(int) - rgb).max(axis=2) < 40).sum(), loss
    names = widget.evaluate('pb().store.shown.names')
    assert {name[:-4] for name in names} <= set(widget.evaluate('written'))


def test_every_control_has_a_name_and_sliders_speak(widget):
    choose(widget, 'RLELoss')
    names = check_names(widget)
    assert names['slider'] == ['sigma (input px)', 'state of the flow'] and names['combobox'] == ['loss']
    assert len(names['application']) == 3 and 'one step downhill' in names['button']
    widget.locator('[data-key=sigma]').focus()
    widget.keyboard.press('ArrowRight')
    answer(widget)
    assert spoken(widget).startswith('sigma (input px) 6.5. RLELoss ')
    widget.locator('.pb-undo').click()
    assert state(widget)['sigma'] == 6


def test_presenter_mode_cuts_nothing_off(widget):
    choose(widget, 'RLELoss')
    for size in (dict(width=1280, height=720), dict(width=1920, height=1080)):
        widget.set_viewport_size(size)
        widget.locator('.pb-present').click()
        widget.evaluate('settled()')
        assert widget.evaluate("(e => [e.scrollWidth <= e.clientWidth, e.scrollHeight <= e.clientHeight])"
                               "(document.querySelector('.pb-widget'))") == [True, True], size
        widget.locator('.pb-present').click()


@pytest.mark.parametrize('loss', ['SmoothL1Loss', 'RLELoss', 'KeypointMSELoss'])
def test_a_drag_is_drawn_at_every_move_and_the_kernel_follows(widget, loss):
    before = choose(widget, loss)
    drag_round(widget, 'plane', widget.evaluate("onPanel('plane', pb().store.state.point)"))
    assert answer(widget)['distance'] == pytest.approx(before['distance'], abs=1)


def test_after_a_restart_old_numbers_are_grey(widget):  # the last one: it ends the kernel
    check_grey_after_restart(widget, 'pb().store.change({ point: [30, 40] })')
