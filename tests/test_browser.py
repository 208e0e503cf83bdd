"""SpacesExplorer in a real Chromium on a real JupyterLab, started as `posebook lab` starts it.

How fast it draws and answers is measured in tests/benchmarks/test_widget_speed.py. Without a browser these tests are
skipped, or fail where POSEBOOK_REQUIRE_BROWSER=1.
"""
import cv2
import numpy as np
import pytest

from posebook.structures.spaces import Spaces
from widget_lab import (PERSON, answer, check_themes, check_width, drag, drag_round, drawn, opened_notebook, run_cell,
                        same_picture, scroll_away_and_back, state, unnamed_controls, widget_at_rest)

pytestmark = [pytest.mark.slow, pytest.mark.browser]

NOTEBOOK = [PERSON + '''
from posebook.widgets import SpacesExplorer
explorer = SpacesExplorer(image, keypoints, [86, 24, 170, 180], visible, selected=9,
                          metainfo=parse_pose_metainfo(COCO))
explorer
''', '''
import json
seen = dict(keypoint=explorer.settings.keypoints[9].tolist(), bbox=explorer.settings.bbox.tolist(),
            padding=explorer.settings.padding)
open('seen.json', 'w').write(json.dumps(seen));
''']


# Where an image point is on the page, in the panel of a space.
ON_PAGE = '''() => { window.onPage = (space, point) =>
    onPanel(space, pb().apply(pb().store.maps.from[space], point)); }'''

notebook = opened_notebook('explorer', NOTEBOOK)
at_rest = widget_at_rest('notebook')


@pytest.fixture
def widget(at_rest):
    at_rest.evaluate(ON_PAGE)
    return at_rest


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
    assert run_cell(widget, 1, lab[1] / 'seen.json')['keypoint'] == pytest.approx(after, abs=1e-9)
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
        for space in still:
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
    assert unnamed_controls(widget) == []


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
    widget.locator('.pb-spaces .pb-reset').click()
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
    widget.evaluate('''async () => { pb().store.change({ rotation: 25, padding: 1.1, flip: true }); await settled(); }''')
    shown = cv2.resize(drawn(widget, 'input'), (192, 256), interpolation=cv2.INTER_AREA)
    scene = {}
    exec(NOTEBOOK[0].rsplit('explorer = ', 1)[0], scene)
    spaces = Spaces.from_bbox([86, 24, 170, 180], (192, 256), (48, 64), 1.1, 25, flip=True)
    gap = np.abs(shown.astype(int) - spaces.crop(scene['image'])).max(axis=2)
    assert np.median(gap) <= 3
    assert (gap > 25).mean() < 0.15  # limbs, points and the box


def test_a_bad_request_is_reported_and_forgotten(widget):
    widget.evaluate('pb().store.change({ sigma: -1 })')
    widget.wait_for_function("document.querySelector('.pb-status').textContent.includes('sigma')")
    widget.evaluate('pb().store.change({ sigma: 2 })')
    widget.wait_for_function("document.querySelector('.pb-status').textContent === ''")


def test_dark_theme_and_narrow_page(widget):
    check_themes(widget, '.pb-spaces')
    tops = "[...document.querySelectorAll('.pb-spaces canvas')].map(c => c.getBoundingClientRect().top)"
    assert len({round(t) for t in widget.evaluate(tops)}) == 1  # side by side
    check_width(widget, '.pb-spaces', 560)
    image, crop, output = widget.evaluate(tops)
    assert image < crop == output  # the image above the two others
    assert widget.evaluate("panel('image').width") > 250


@pytest.mark.parametrize('width', [1400, 1150, 900, 700, 560])
def test_no_coordinate_is_cut_off(widget, width):
    check_width(widget, '.pb-spaces', width)


def test_redraws_after_it_was_scrolled_away(widget):
    before = widget.evaluate("Array.from(pixels('output'))")
    scroll_away_and_back(widget)
    assert same_picture(widget.evaluate("Array.from(pixels('output'))"), before)


def test_a_drag_is_drawn_at_every_move_and_the_kernel_follows(widget):
    before, heatmap = state(widget)['keypoints'][9], drawn(widget, 'output')
    drag_round(widget, 'image', widget.evaluate("onPage('image', pb().store.state.keypoints[9])"))
    assert state(widget)['keypoints'][9] == pytest.approx(before, abs=0.6)
    assert answer(widget)['point']['image'] == pytest.approx(state(widget)['keypoints'][9], abs=1e-9)
    assert widget.evaluate('pb().stats.agreement') < 1e-3
    widget.mouse.move(5, 5)
    widget.evaluate('frame().then(frame)')
    assert same_picture(drawn(widget, 'output').ravel().astype(int), heatmap.ravel())
    assert widget.evaluate('pb().stats.agreement') < 1e-3
