"""HeatmapViewer in a real Chromium: choosing, colouring and reading maps needs no kernel, and points come from it."""
import numpy as np
import pytest

from widget_lab import (answer, check_themes, check_width, drawn, opened_notebook, run_cell, same_picture,
                        scroll_away_and_back, state, unnamed_controls, widget_at_rest)

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SCENE = '''
import cv2, json
import numpy as np
from posebook.codecs import MSRAHeatmap, UDPHeatmap
from posebook.structures.metainfo import COCO, parse_pose_metainfo
from posebook.book.places import data_samples_dir
from posebook.structures.spaces import Spaces
from posebook.widgets import HeatmapViewer

mini = data_samples_dir() / 'posebook-mini'
labels = json.loads((mini / 'annotations/person_keypoints_val.json').read_text())
entry = next(i for i in labels['images'] if i['file_name'] == 'val_00016.jpg')
person = next(a for a in labels['annotations'] if a['image_id'] == entry['id'])
x, y, w, h = person['bbox']
spaces = Spaces.from_bbox([x, y, x + w, y + h], (192, 256), (48, 64))
crop = spaces.crop(cv2.imread(str(mini / 'images/val_00016.jpg')))
points = spaces.transform(np.reshape(person['keypoints'], (17, 3))[:, :2].astype(float), 'image', 'input')[None]
codec = MSRAHeatmap((192, 256), (48, 64), sigma=2, unbiased=True)
target = codec.encode(points)['heatmaps']
guess = codec.encode(points + [3, -2])['heatmaps'] * 0.8
prediction = guess + np.random.default_rng(0).normal(0, 0.01, guess.shape)
prediction[3], prediction[4], prediction[5] = np.nan, 0, 0.25
'''
NOTEBOOK = [SCENE + '''
viewer = HeatmapViewer(crop, prediction, target, codec, parse_pose_metainfo(COCO))
viewer
''', '''
open('seen.json', 'w').write(json.dumps(viewer.settings.to_dict()));
''', '''
if 'ready' in globals():   # not yet when all cells are run
    other = np.zeros_like(prediction)
    other[:, 10, 20] = 0.5
    viewer.update(heatmaps=other, selected=9)
ready = True
open('updated.json', 'w').write(json.dumps(repr(viewer)));
''', '''
viewer.update(heatmaps=prediction, selected=None)
open('back.json', 'w').write('1');
''']

page = opened_notebook('heatmaps', NOTEBOOK)
widget = widget_at_rest('page')


@pytest.fixture(scope='module')
def scene():
    names = {}
    exec(SCENE, names)
    return names


def row(page, k):
    """The list's row of keypoint k, -1 for all."""
    return page.locator('.pb-list button').nth(k + 1)


def hover(page, panel, pixel):
    page.mouse.move(*page.evaluate('a => onPanel(...a)', [panel, pixel]))
    page.evaluate('frame().then(frame)')


def fact(page, key):
    return page.locator(f'[data-fact={key}]').inner_text()


def test_both_panels_and_the_list_are_drawn(widget):
    for name in ('prediction', 'target'):
        assert len(np.unique(drawn(widget, name).reshape(-1, 3), axis=0)) > 500
    assert widget.locator('.pb-list button').count() == 18
    assert row(widget, 9).locator('b').inner_text() == 'left_wrist'
    assert [row(widget, k).locator('span').inner_text() for k in (3, 4, 5)] == ['NaN or inf', 'empty', 'flat']
    assert 'left_ear (NaN or inf at 3072 of 3072 pixels)' in widget.locator('.pb-note').inner_text()
    small = widget.evaluate("[...document.querySelectorAll('.pb-list canvas')].map(c => [c.width, c.height])")
    assert small == [[48, 64]] * 18
    assert widget.problems == []


def test_choosing_a_map_shows_it_and_its_numbers(widget, scene, lab):
    whole = drawn(widget, 'prediction')
    row(widget, 9).click()
    result = answer(widget)
    assert (drawn(widget, 'prediction') != whole).any(axis=2).mean() > 0.01
    assert state(widget)['selected'] == [9] and result['summary']['shown'] == 1
    assert run_cell(widget, 1, lab[1] / 'seen.json')['selected'] == [9]
    (decoded,), (scores,) = scene['codec'].decode(scene['prediction'].astype(np.float32))
    there = [float(v) for v in fact(widget, 'at0').split(',')]
    assert there == pytest.approx(decoded[9] / 4, abs=0.006)
    assert float(fact(widget, 'score0')) == pytest.approx(scores[9], abs=6e-4)
    true = scene['codec'].decode(scene['target'])[0][0]
    apart = float(fact(widget, 'apartIn').split()[0])
    assert apart == pytest.approx(np.linalg.norm(decoded[9] - true[9]), abs=0.006)
    row(widget, 10).click(modifiers=['Shift'])
    answer(widget)
    assert state(widget)['selected'] == [9, 10] and row(widget, 10).get_attribute('aria-pressed') == 'true'
    assert fact(widget, 'found') == '2 of 2'
    row(widget, -1).click()
    answer(widget)
    assert state(widget)['selected'] == [] and fact(widget, 'found') == '15 of 17'


def test_hover_reads_both_maps_at_a_pixel(widget, scene):
    row(widget, 9).click()
    answer(widget)
    px, py = np.round(scene['points'][0, 9] / 4).astype(int)
    for panel in ('prediction', 'target'):
        for x, y in ((px, py), (px + 2, py - 1), (3, 60)):
            hover(widget, panel, [float(x), float(y)])
            assert fact(widget, 'probe') == f'{x}, {y}'
            for s, name in enumerate(('prediction', 'target')):
                array = scene[name][9]
                step = (array.max() - array.min()) / 255
                assert float(fact(widget, f'value{s}')) == pytest.approx(array[y, x], abs=float(step) / 2 + 6e-4)
    widget.mouse.move(5, 5)
    widget.evaluate('frame().then(frame)')
    assert fact(widget, 'probe') == '–'


def test_of_all_maps_hover_names_the_highest_and_a_click_takes_it(widget, scene):
    px, py = np.round(scene['points'][0, 10] / 4).astype(float)
    hover(widget, 'prediction', [px, py])
    assert fact(widget, 'name0') == ': right_wrist'
    widget.mouse.down()
    widget.mouse.up()
    assert answer(widget)['summary']['shown'] == 1 and state(widget)['selected'] == [10]


def test_colour_map_opacity_and_scale_change_the_picture(widget):
    row(widget, 9).click()
    answer(widget)
    seen = [drawn(widget, 'prediction')]
    widget.locator('[data-key=colormap]').select_option('"viridis"')
    answer(widget)
    seen.append(drawn(widget, 'prediction'))
    widget.locator('[data-key=opacity]').fill('0.3')
    answer(widget)
    seen.append(drawn(widget, 'prediction'))
    for a, b in zip(seen, seen[1:]):
        assert (np.abs(a.astype(int) - b).max(axis=2) > 20).mean() > 0.005
    assert seen[2].mean() > seen[1].mean() + 10  # the crop shines through
    widget.locator('[data-key=opacity]').fill('0')
    answer(widget)
    bare = drawn(widget, 'prediction').astype(int)
    widget.locator('[data-key=colormap]').select_option('"magma"')
    answer(widget)
    assert same_picture(drawn(widget, 'prediction').ravel(), bare.ravel())
    widget.locator('[data-key=opacity]').fill('1')
    widget.locator('[data-key=scale]').select_option('"both"')
    answer(widget)
    dimmer = drawn(widget, 'prediction').astype(int)
    widget.locator('[data-key=scale]').select_option('"map"')
    answer(widget)
    assert (drawn(widget, 'prediction').astype(int) - dimmer).max() > 30  # 0.8 of the target's 1, then its own top
    ends = widget.locator('.pb-ramp').nth(0).locator('span').all_inner_texts()
    assert ends[0] == '0.000' and 0.75 < float(ends[1]) < 0.85


def test_the_map_lies_on_the_crop_as_the_library_says(widget, scene):
    """Without a map the panel is the crop, warped to output space."""
    row(widget, 4).click()
    widget.locator('[data-key=opacity]').fill('0')
    widget.locator('[data-key=points]').uncheck()
    answer(widget)
    widget.evaluate("() => { pb().store.sources[0].short[4] = ''; pb().store.redraw(); }")  # no label on top
    widget.evaluate('frame().then(frame)')
    shown = drawn(widget, 'prediction')
    size = shown.shape[1::-1]
    scale = size[0] / 48
    matrix = np.array([[scale / 4, 0, scale / 2 - 0.5], [0, scale / 4, scale / 2 - 0.5]])
    theirs = scene['cv2'].warpAffine(scene['crop'], matrix, size, flags=scene['cv2'].INTER_LINEAR)
    gap = np.abs(shown.astype(int) - theirs)[20:-20, 20:-20]
    assert gap.mean() < 5


def test_refining_is_asked_of_the_kernel(widget, scene):
    row(widget, 9).click()
    answer(widget)
    dark = fact(widget, 'step0')
    widget.locator('[data-key=refine]').select_option('"quarter"')
    answer(widget)
    steps = [abs(float(v)) for v in fact(widget, 'step0').split(',')]
    assert set(steps) <= {0, 0.25} and fact(widget, 'step0') != dark
    assert [round(abs(float(v)), 2) for v in fact(widget, 'step1').split(',')] != [0, 0]


def test_maps_without_a_picture_say_so(widget):
    for k, word in ((3, 'NaN or inf'), (4, 'empty'), (5, 'flat')):
        row(widget, k).click()
        answer(widget)
        assert word in widget.locator('.pb-note').inner_text()
        cells = widget.evaluate("Array.from(panel('prediction').values)")
        assert not any(cells)
    row(widget, 3).click()
    answer(widget)
    assert fact(widget, 'at0') == '–' and fact(widget, 'score0') == '0.000'
    hover(widget, 'target', [20., 20.])
    assert fact(widget, 'value0') == '–' and fact(widget, 'value1') != '–'


def test_close_up_shows_every_value(widget, scene):
    row(widget, 9).click()
    before = widget.evaluate("panel('prediction').view[0]")
    widget.locator('[data-key=close_up]').check()
    answer(widget)
    assert widget.evaluate("panel('prediction').size") == [12, 16]
    assert widget.evaluate("panel('prediction').view[0]") > 3.5 * before
    text = fact(widget, 'argmax0')
    x0, y0 = widget.evaluate('''() => { const p = panel('prediction'); return [p.size[0] / 2, p.size[1] / 2]; }''')
    hover(widget, 'prediction', [x0 - 1., y0 - 1.])  # the window is centred on the peak
    px, py = (int(v) for v in fact(widget, 'probe').split(', '))
    ax, ay = (int(v) for v in text.split(', '))
    assert abs(px - ax) <= 1 and abs(py - ay) <= 1
    assert float(fact(widget, 'value0')) == pytest.approx(scene['prediction'][9, py, px], abs=0.003)


def test_keyboard_reaches_everything(widget):
    cells = widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length')
    widget.locator('[data-panel=prediction]').focus()
    seen = []
    for key in (']', ']', '[', '['):
        widget.keyboard.press(key)
        seen.append(state(widget)['selected'])
    assert seen == [[0], [1], [0], [16]]
    widget.keyboard.press('c')
    assert state(widget)['close_up']
    widget.keyboard.press('c')
    widget.keyboard.press('a')
    assert state(widget)['selected'] == []
    widget.keyboard.press('ArrowRight')
    first = widget.evaluate('pb().store.probe')
    widget.keyboard.press('Shift+ArrowDown')
    assert widget.evaluate('pb().store.probe') == [first[0], first[1] + 10]
    for key in ('b', 'x', 'd', 'd', 'm'):
        widget.keyboard.press(key)
    widget.keyboard.press('Escape')
    assert widget.evaluate('document.activeElement.dataset.key') == 'colormap'
    row(widget, -1).focus()
    for key in ('ArrowDown', 'ArrowDown', 'Shift+ArrowDown', 'b', 'd', 'd'):
        widget.keyboard.press(key)
    assert state(widget)['selected'] == [1, 2]
    assert widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length') == cells
    row(widget, 9).click()
    widget.wait_for_function("document.querySelector('.pb-live').textContent.startsWith('left_wrist')")
    stops = "[...document.querySelectorAll('.pb-list button')].filter(b => b.tabIndex === 0).length"
    assert widget.evaluate(stops) == 1
    assert unnamed_controls(widget) == []


def test_update_from_python_brings_new_maps(widget, lab):
    assert 'left_wrist' in run_cell(widget, 2, lab[1] / 'updated.json')
    widget.evaluate('settled()')
    widget.locator('.pb-widget').scroll_into_view_if_needed()
    assert fact(widget, 'argmax0') == '20, 10' and fact(widget, 'score0') == '0.500'
    hover(widget, 'target', [20., 10.])
    assert fact(widget, 'value0') == '0.500'
    run_cell(widget, 3, lab[1] / 'back.json')
    widget.evaluate('settled()')
    assert fact(widget, 'found') == '15 of 17'


def test_a_bad_request_is_reported_and_forgotten(widget):
    widget.evaluate('pb().store.change({ opacity: 3 })')
    widget.wait_for_function("document.querySelector('.pb-status').textContent.includes('opacity')")
    widget.evaluate('pb().store.change({ opacity: 0.5 })')
    widget.wait_for_function("document.querySelector('.pb-status').textContent === ''")


def test_dark_theme_and_narrow_page(widget):
    check_themes(widget, '.pb-heatmaps')
    for width in (1400, 1150, 900, 700, 560, 420):
        check_width(widget, '.pb-heatmaps', width)
        assert widget.evaluate("panel('prediction').width") > 120


def test_redraws_after_it_was_scrolled_away(widget):
    row(widget, 9).click()
    widget.mouse.move(5, 5)
    answer(widget)
    before = widget.evaluate("Array.from(pixels('target'))")
    scroll_away_and_back(widget)
    assert same_picture(widget.evaluate("Array.from(pixels('target'))"), before)


FADE_AND_HOVER = '''async (moves) => {
  const { stats } = pb(), { canvas } = panel('prediction'), slider = document.querySelector('[data-key=opacity]');
  const rect = canvas.getBoundingClientRect(), answered = stats.answered;
  let drawn = 0;
  for (let i = 1; i <= moves; i += 1) {
    const turn = 2 * Math.PI * i / moves, before = stats.frames.at(-1);
    slider.value = (0.5 + 0.4 * Math.sin(turn)).toFixed(2);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    canvas.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, pointerId: 1,
      clientX: rect.left + rect.width * (0.5 + 0.4 * Math.sin(turn)),
      clientY: rect.top + rect.height * (0.5 + 0.4 * Math.cos(turn)) }));
    await frame();
    drawn += stats.frames.at(-1) !== before;
  }
  await settled();
  return { drawn, answers: stats.answered - answered };
}'''


@pytest.mark.parametrize('k', [-1, 9])
def test_opacity_and_hover_are_drawn_at_every_move_and_the_kernel_follows(widget, k):
    row(widget, k).click()
    answer(widget)
    found = widget.evaluate(FADE_AND_HOVER, 60)
    assert found['drawn'] == 60 and 1 <= found['answers'] <= 62, found
    assert state(widget)['opacity'] == 0.5
