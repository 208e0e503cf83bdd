"""CodecLab in a real Chromium on a real JupyterLab: dragged, typed at, copied from."""
import numpy as np
import pytest

from posebook.codecs import UDPHeatmap
from widget_lab import (PERSON, answer, check_themes, check_width, drag, drag_round, drawn, opened_notebook, run_cell,
                        same_picture, scroll_away_and_back, state, unnamed_controls, widget_at_rest)

pytestmark = [pytest.mark.slow, pytest.mark.browser]

NOTEBOOK = [PERSON + '''
from posebook.widgets import CodecLab
lab = CodecLab(image, keypoints, [86, 24, 170, 180], visible, selected=9,
               metainfo=parse_pose_metainfo(COCO))
lab
''', '''
import json
from posebook.widgets.codec_lab import codec_config
seen = dict(keypoint=lab.settings.keypoints[9].tolist(), noise=lab.settings.noise,
            codecs={side: repr(codec) for side, codec in lab.codecs.items()})
open('lab.json', 'w').write(json.dumps(seen));
''']

page = opened_notebook('codec_lab', NOTEBOOK)
widget = widget_at_rest('page')


def place(widget, side):
    """Where the selected point is on the page, in a side's crop."""
    return widget.evaluate('''s => onPanel(s, pb().apply(pb().store.answer[s].matrix,
        pb().store.state.keypoints[pb().store.state.selected]))''', side)


def control(widget, side, key):
    return widget.locator(f'[data-side={side}] [data-key={key}]')


def shown(widget, side, key):
    return widget.locator(f'[data-side={side}] [data-fact={key}]').inner_text()


def used(widget, side):
    """The controls of a side that are on the page."""
    return widget.evaluate('''s => [...document.querySelectorAll(`[data-side=${s}] [data-key]`)]
        .filter((e) => e.offsetParent).map((e) => e.dataset.key)''', side)


def test_both_sides_are_drawn(widget):
    for name in ('left', 'left_map', 'right', 'right_map'):
        colours = widget.evaluate('s => new Set(new Uint32Array(pixels(s).buffer)).size', name)
        assert colours > 100, f'{name} is empty'
    assert widget.problems == []
    assert shown(widget, 'left', 'input').endswith(' px')
    code = widget.locator('[data-side=right] pre').inner_text()
    assert code.startswith('from posebook.codecs import MSRAHeatmap\ncodec = ') and 'unbiased=True' in code


def test_dragging_the_point_changes_what_comes_back(widget, lab):
    before, first = state(widget)['keypoints'][9], answer(widget)
    target = widget.evaluate("Array.from(pixels('right'))")
    zoom = widget.evaluate("panel('left').view[0]") * first['left']['matrix'][0]
    drag(widget, place(widget, 'left'), (-50, 33))
    after, now = state(widget)['keypoints'][9], answer(widget)
    assert after == pytest.approx([before[0] - 50 / zoom, before[1] + 33 / zoom], abs=0.6)
    for side in ('left', 'right'):
        assert now[side]['decoded']['input'] != first[side]['decoded']['input']
        assert np.hypot(*np.subtract(now[side]['decoded']['input'], now[side]['point'])) == pytest.approx(
            now[side]['decoded']['error_input'], abs=1e-4)
    assert now['right']['decoded']['error_input'] < 0.1
    assert shown(widget, 'left', 'input') != shown(widget, 'right', 'input')
    assert run_cell(widget, 1, lab[1] / 'lab.json')['keypoint'] == pytest.approx(after, abs=1e-9)
    assert widget.evaluate("Array.from(pixels('right'))") != target


def test_in_the_one_pixel_a_press_takes_the_point_there(widget):
    cell = answer(widget)['left']['cell']
    for spot in ([0.4, -0.3], [0, 0]):
        widget.mouse.click(*widget.evaluate("p => onPanel('left_map', p)", spot))
        found = answer(widget)['left']
        assert found['cell'] == cell
        assert np.divide(found['point'], found['step']) - cell == pytest.approx(spot, abs=0.01)
    assert answer(widget)['left']['decoded']['error_input'] < 0.05  # on the middle of the pixel nothing is lost
    start = widget.evaluate("onPanel('left_map', [0, 0])")
    drag(widget, start, (600, 0))  # a drag does not leave the pixel
    assert np.divide(answer(widget)['left']['point'], 4) - cell == pytest.approx([0.499, 0], abs=0.01)


def test_another_keypoint_can_be_taken(widget):
    at = widget.evaluate("onPanel('right', pb().apply(pb().store.answer.right.matrix, pb().store.state.keypoints[5]))")
    widget.mouse.click(*at)
    assert state(widget)['selected'] == 5
    widget.locator('[data-key=selected]').select_option('16')  # the one without a label
    assert answer(widget)['left']['decoded'] is None and shown(widget, 'left', 'input') == 'no label'


def test_keyboard(widget):
    cells = widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length')
    first = answer(widget)['left']['point']
    widget.locator('[data-panel=left]').focus()
    for key in ('ArrowRight', 'Shift+ArrowDown'):
        widget.keyboard.press(key)
    assert answer(widget)['left']['point'] == pytest.approx([first[0] + 1, first[1] + 10])
    widget.keyboard.press('Tab')
    assert widget.evaluate('document.activeElement.dataset.panel') == 'left_map'
    cell = answer(widget)['left']['cell']
    for key in ('ArrowLeft', 'Shift+ArrowLeft'):
        widget.keyboard.press(key)
    assert answer(widget)['left']['point'] == pytest.approx([first[0] + 1 - 4.4, first[1] + 10])
    assert answer(widget)['left']['cell'][0] in (cell[0] - 1, cell[0] - 2)
    for key in ('b', 'x', 'd', 'd', 'm'):  # JupyterLab's shortcuts stay out
        widget.keyboard.press(key)
    assert widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length') == cells
    widget.wait_for_function("document.querySelector('.pb-live').textContent.includes('decoded at')")
    widget.keyboard.press('Escape')
    assert widget.evaluate('document.activeElement.dataset.key') == 'codec'
    assert unnamed_controls(widget) == []


@pytest.mark.parametrize('codec, controls', [
    ('MSRA', ['heatmap_size', 'sigma', 'unbiased']),
    ('DARK', ['heatmap_size', 'sigma', 'blur_kernel_size', 'unbiased']),
    ('UDP', ['heatmap_size', 'sigma', 'blur_kernel_size']),
    ('UDP combined', ['heatmap_size', 'radius_factor', 'blur_kernel_size']),
    ('Megvii', ['heatmap_size', 'kernel_size']),
    ('SimCC', ['simcc_split_ratio', 'bin_sigma', 'use_dark', 'normalize']),
    ('SimCC standard', ['simcc_split_ratio', 'label_smooth_weight', 'use_dark']),
    ('Regression', [])])
def test_every_codec_shows_its_own_controls(widget, codec, controls):
    control(widget, 'right', 'codec').select_option(f'"{codec}"')
    now = answer(widget)['right']
    assert sorted(used(widget, 'right')) == sorted(['codec', *controls])
    assert now['decoded'] and now['code'] == widget.locator('[data-side=right] pre').inner_text()
    assert state(widget)['left']['type'] == 'MSRAHeatmap'
    assert widget.locator('.pb-status').inner_text() == ''
    kind = {'MSRAHeatmap': 'map', 'UDPHeatmap': 'map', 'MegviiHeatmap': 'map', 'SimCCLabel': 'rows',
            'RegressionLabel': 'numbers'}[state(widget)['right']['type']]
    assert now['target']['kind'] == kind
    assert widget.problems == []


def test_every_control_changes_the_codec(widget, lab):
    def python(side='right'):
        return run_cell(widget, 1, lab[1] / 'lab.json')['codecs'].get(side)
    control(widget, 'right', 'sigma').fill('3.5')
    control(widget, 'right', 'blur_kernel_size').fill('7')
    control(widget, 'right', 'heatmap_size').select_option('[24,32]')
    assert all(part in python() for part in ('sigma=3.5', 'blur_kernel_size=7', 'heatmap_size=(24, 32)'))
    assert answer(widget)['right']['step'] == [8, 8]
    control(widget, 'right', 'unbiased').uncheck()
    assert 'unbiased=False' in python() and control(widget, 'right', 'codec').input_value() == '"MSRA"'
    assert answer(widget)['right']['surface']['max'] > 5
    control(widget, 'right', 'codec').select_option('"UDP combined"')
    control(widget, 'right', 'radius_factor').fill('0.1')
    assert all(part in python() for part in ('combined', 'radius_factor=0.1', 'heatmap_size=(24, 32)'))  # the size stays
    control(widget, 'right', 'codec').select_option('"Megvii"')
    control(widget, 'right', 'kernel_size').fill('15')
    assert 'kernel_size=15' in python()
    control(widget, 'right', 'codec').select_option('"SimCC"')
    control(widget, 'right', 'simcc_split_ratio').fill('1')
    coarse = answer(widget)['right']['surface']['max']
    control(widget, 'right', 'simcc_split_ratio').fill('3')
    assert answer(widget)['right']['surface']['max'] < coarse / 2
    control(widget, 'right', 'bin_sigma').fill('9')
    control(widget, 'right', 'use_dark').check()
    control(widget, 'right', 'normalize').uncheck()
    assert all(part in python() for part in ('sigma=(9.0, 9.0)', 'use_dark=True', 'normalize=False', 'simcc_split_ratio=3'))
    control(widget, 'right', 'codec').select_option('"SimCC standard"')
    control(widget, 'right', 'label_smooth_weight').fill('0.3')
    assert 'label_smooth_weight=0.3' in python()
    control(widget, 'right', 'codec').select_option('"SimCC"')  # what was set before is still there
    assert state(widget)['right']['sigma'] == 9
    control(widget, 'right', 'codec').select_option('"none"')
    assert answer(widget)['right'] is None and python() is None
    assert not widget.locator('[data-panel=right]').is_visible()
    control(widget, 'right', 'codec').select_option('"Regression"')
    widget.locator('[data-key=noise]').fill('0.1')
    noisy = answer(widget)['right']['decoded']['error_input']
    widget.locator('[data-key=seed]').fill('3')
    assert .05 < answer(widget)['right']['decoded']['error_input'] != noisy < 3  # 0.1 of four input pixels
    assert run_cell(widget, 1, lab[1] / 'lab.json')['noise'] == 0.1
    assert widget.problems == []


def test_same_scale_or_each_its_own(widget):
    scales = "[...document.querySelectorAll('.pb-ramp output')].map((e) => e.textContent)"
    left, right = widget.evaluate(scales)
    assert left == right
    before = drawn(widget, 'right_map')
    widget.locator('[data-key=same_scale]').uncheck()
    answer(widget)
    left, right = widget.evaluate(scales)
    assert left != right == '0.010 px'
    assert not same_picture(drawn(widget, 'right_map'), before)


def test_a_wrong_setting_is_said_and_breaks_nothing(widget):
    good = state(widget)['left']
    for part, words in ((dict(sigma=-1), 'left: MSRAHeatmap: sigma'), (dict(blur_kernel_size=10), 'odd'),
                        (dict(heatmap_size=[64, 48]), 'Did you swap w and h?')):
        widget.evaluate('left => pb().store.change({ left })', good | part)
        widget.wait_for_function("w => document.querySelector('.pb-status').textContent.includes(w)", arg=words)
        drag(widget, place(widget, 'left'), (20, 0))  # still alive
    widget.evaluate('left => pb().store.change({ left })', good)
    widget.wait_for_function("document.querySelector('.pb-status').textContent === ''")
    assert widget.problems == []


def test_the_code_is_copied(widget):
    origin = widget.evaluate('location.origin')
    widget.context.grant_permissions(['clipboard-read', 'clipboard-write'], origin=origin)
    control(widget, 'right', 'codec').select_option('"UDP"')
    code = answer(widget)['right']['code']
    widget.locator('[data-side=right] .pb-code button').click()
    widget.wait_for_function("document.querySelector('[data-side=right] .pb-code button').textContent === 'copied'")
    assert widget.evaluate('navigator.clipboard.readText()') == code
    names = {}
    exec(code, names)
    assert isinstance(names['codec'], UDPHeatmap)


def test_udp_and_plain_crops_are_told_apart(widget):
    control(widget, 'right', 'codec').select_option('"UDP"')
    now = answer(widget)
    assert now['left']['matrix'] != now['right']['matrix'] and now['right']['udp']
    captions = widget.evaluate("[...document.querySelectorAll('.pb-input figcaption')].map((e) => e.textContent)")
    assert 'UDP' not in captions[0] and 'UDP' in captions[1]
    assert now['right']['decoded']['error_image'] < 0.05


def test_dark_theme_and_narrow_page(widget):
    check_themes(widget, '.pb-lab')
    for width in (1400, 1150, 900, 700, 560, 480):
        check_width(widget, '.pb-lab', width)
        cut = widget.evaluate('''() => [...document.querySelectorAll('.pb-lab :is(dl, dd, dt, pre, section, label > span, button)')]
            .filter((e) => e.offsetParent && e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)''')
        assert cut == [], width
    widget.set_viewport_size(dict(width=1400, height=1000))


def test_redraws_after_it_was_scrolled_away(widget):
    before = widget.evaluate("Array.from(pixels('left_map'))")
    scroll_away_and_back(widget)
    assert same_picture(widget.evaluate("Array.from(pixels('left_map'))"), before)


@pytest.mark.parametrize('codecs', [('MSRA', 'DARK'), ('UDP', 'SimCC')])
def test_a_drag_is_drawn_at_every_move_and_the_kernel_follows(widget, codecs):
    for side, codec in zip(('left', 'right'), codecs):
        control(widget, side, 'codec').select_option(f'"{codec}"')
    before = answer(widget)
    drag_round(widget, 'left', place(widget, 'left'))
    for side in ('left', 'right'):  # back where it was, and so are the targets and errors
        assert answer(widget)[side]['point'] == pytest.approx(before[side]['point'], abs=0.6)
