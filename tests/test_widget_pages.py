"""All widgets in Chromium on pages of their own: hostile text, names for screen readers, undo, layout, touch."""
import re
from importlib import resources

import numpy as np
import pytest

from posebook.codecs import MSRAHeatmap
from posebook.structures.metainfo import COCO, parse_pose_metainfo
from posebook.widgets import CodecLab, HeatmapViewer, SpacesExplorer
from widget_checks import HOSTILE, check_harmless, check_names, hostile_metainfo, hostile_names, spoken
from widget_page import chromium, open_widget  # noqa: F401  (a fixture)

pytestmark = [pytest.mark.slow, pytest.mark.browser]

rng = np.random.default_rng(0)
IMAGE = rng.integers(60, 200, (192, 256, 3), dtype=np.uint8)
POINTS = np.array([[128, 40], [132, 36], [124, 36], [137, 38], [119, 38], [146, 62], [110, 62], [156, 88], [100, 88],
                   [162, 112], [94, 112], [140, 112], [116, 112], [142, 142], [114, 142], [143, 170], [113, 170]], float)
BOX, VISIBLE = [86, 24, 170, 180], np.array([2, 2, 2, 2, 1] + [2] * 11 + [0])
METAINFO, EVIL = parse_pose_metainfo(COCO), hostile_metainfo(17)
CODEC = MSRAHeatmap((192, 256), (48, 64), sigma=2.)
TARGET = CODEC.encode((POINTS * (192 / 256, 256 / 192))[None].astype(np.float32))['heatmaps']
CROP = rng.integers(60, 200, (256, 192, 3), dtype=np.uint8)


def spaces(metainfo=METAINFO, **options):
    return SpacesExplorer(IMAGE, POINTS, BOX, VISIBLE, metainfo=metainfo, **dict(selected=9) | options)


def lab(metainfo=METAINFO, **options):
    return CodecLab(IMAGE, POINTS, BOX, VISIBLE, metainfo=metainfo, **dict(selected=9) | options)


def viewer(metainfo=METAINFO, titles=None, **options):
    return HeatmapViewer(CROP, np.clip(TARGET + rng.normal(0, .02, TARGET.shape), 0, 1), TARGET, CODEC, metainfo,
                         titles=titles, **options)


WIDGETS = [spaces, lab, viewer]


@pytest.mark.parametrize('make', WIDGETS)
def test_hostile_names_are_text(chromium, tmp_path, make):
    page = open_widget(chromium, make(EVIL), tmp_path)
    for key in page.evaluate("[...document.querySelectorAll('select[data-key]')].map((e) => e.dataset.key)"):
        page.locator(f'[data-key={key}]').first.focus()
    for i in (0, 3, 5):
        page.evaluate('i => pb().store.change({ selected: Array.isArray(pb().store.state.selected) ? [i] : i })', i)
        page.evaluate('settled()')
    check_harmless(page, hostile_names(17))
    assert page.problems == []
    page.context.close()


@pytest.mark.parametrize('text', HOSTILE)
def test_hostile_titles_are_text(chromium, tmp_path, text):
    page = open_widget(chromium, viewer(titles=(text, text)), tmp_path)
    assert page.locator('.pb-widget [data-panel]').count() == 2, 'equal titles are two panels'
    check_harmless(page, [text, f'{text} (2)'])
    assert page.problems == []
    page.context.close()


def test_a_hostile_answer_is_text(chromium, tmp_path):
    """What Python says travels as text too: notes, names of codecs, messages."""
    page = open_widget(chromium, lab(), tmp_path)
    page.evaluate("""texts => { const { store } = pb(), { answer } = store;
        for (const side of ['left', 'right']) answer[side] = { ...answer[side], code: texts[0] + side };
        store.error = texts[1]; store.redraw(); }""", HOSTILE[:2])
    check_harmless(page, [HOSTILE[0] + 'left', HOSTILE[1]])
    page.context.close()


@pytest.mark.parametrize('make', WIDGETS)
def test_controls_have_names_of_their_own(chromium, tmp_path, make):
    page = open_widget(chromium, make(), tmp_path)
    names = check_names(page)
    if make is lab:
        assert {'left sigma (map px)', 'right sigma (map px)', 'noise (heights)'} <= set(names['slider'])
        assert {'copy the left codec as code', 'copy the right codec as code'} <= set(names['button'])
    if make is spaces:
        assert set(names['slider']) == {'padding', 'rotation', 'sigma'} and 'keypoint' in names['combobox']
    if make is viewer:
        assert 'opacity' in names['slider'] and {'prediction', 'target'} <= {n.split('.')[0] for n in names['application']}
    page.context.close()


@pytest.mark.parametrize('make, key, words', [
    (spaces, 'sigma', 'sigma 2.25. '), (lab, 'noise', 'noise (heights) 0.01. left: point at'), (viewer, 'opacity', 'opacity 0.91. ')])
def test_a_slider_is_spoken(chromium, tmp_path, make, key, words):
    page = open_widget(chromium, make(), tmp_path)
    page.locator(f'[data-key={key}]:visible').first.focus()
    page.keyboard.press('ArrowRight')
    assert spoken(page).startswith(words)
    page.context.close()


def test_one_control_of_a_side_is_reset(chromium, tmp_path):
    page = open_widget(chromium, lab(), tmp_path)
    left = "JSON.stringify(pb().store.state.left)"
    first = page.evaluate(left)
    page.locator('[data-side=left] [data-key=sigma]').focus()
    page.keyboard.press('ArrowRight')
    assert page.evaluate('pb().store.state.left.sigma') == 2.25
    page.locator('[data-side=left] .pb-one:visible').click()
    assert page.evaluate(left) == first
    page.locator('[data-side=left] [data-key=codec]').select_option(label='SimCC')
    page.locator('[data-side=left] [data-key=bin_sigma]').focus()
    page.keyboard.press('ArrowRight')
    assert page.evaluate('pb().store.state.left.sigma') == 6.5
    page.keyboard.press('Backspace')
    assert page.evaluate('pb().store.state.left.sigma') == 6, 'of the codec that is chosen'
    for _ in range(3):
        page.keyboard.press('Control+z')
    assert page.evaluate('pb().store.state.left.type') == 'MSRAHeatmap'
    page.locator('[data-side=left] [data-key=codec]').select_option(label='SimCC')
    page.locator('[data-side=left] [aria-label="reset left codec"]').click()
    assert page.evaluate(left) == first
    page.context.close()


def test_the_box_stays_within_reach(chromium, tmp_path):
    page = open_widget(chromium, spaces(), tmp_path)
    page.evaluate("""() => { window.onPage = (p) => onPanel('image', pb().apply(pb().store.maps.from.image, p)); }""")

    def drag(start, end):
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=6)
        page.mouse.up()

    for end in ((-2000, -2000), (4000, 3000), (-2000, 3000)):
        x1, y1, x2, y2 = page.evaluate('pb().store.state.bbox')
        drag(page.evaluate('p => onPage(p)', [min(max(x1, 2), 240) + 6, min(max((y1 + y2) / 2, 4), 185)]), end)
        now = page.evaluate('pb().store.state.bbox')
        assert now[2] - now[0] == pytest.approx(x2 - x1) and now[3] - now[1] == pytest.approx(y2 - y1)
        middle = (now[0] + now[2]) / 2, (now[1] + now[3]) / 2
        assert 0 <= middle[0] <= 255 and 0 <= middle[1] <= 191, now
    page.locator('.pb-reset').click()
    drag(page.evaluate('onPage([170, 180])'), (5000, 5000))  # a corner stops where it can still be taken
    corner = page.evaluate('pb().store.state.bbox')[2:]
    assert corner[0] <= 256 * 1.08 and corner[1] <= 192 + 256 * 0.08
    drag(page.evaluate('p => onPage(p)', corner), page.evaluate('onPage([200, 150])'))
    assert page.evaluate('pb().store.state.bbox')[2:] == pytest.approx([200, 150], abs=1)
    page.context.close()


def test_an_unlabelled_keypoint_has_no_target_and_nan_is_taken(chromium, tmp_path):
    points = POINTS.copy()
    points[16] = np.nan
    page = open_widget(chromium, CodecLab(IMAGE, points, BOX, VISIBLE, left='MSRA', right='Regression', selected=16,
                                          metainfo=METAINFO), tmp_path)
    for side in ('left', 'right'):
        assert page.locator(f'[data-side={side}] [data-fact=input]').inner_text() == 'no label'
    assert page.evaluate('Math.max(...new Uint8Array(pb().store.answer.left.target.map.buffer))') == 0
    assert 'no label' in page.evaluate("pb().panels && document.querySelector('.pb-widget').innerText")
    assert page.problems == []
    page.context.close()


CUT = """() => [...document.querySelectorAll('.pb-widget :is(dd, dt, h4, figcaption, label > span, button, output)')]
    .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline'
      && getComputedStyle(e).textOverflow !== 'ellipsis')
    .map((e) => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize('width', [1280, 1000, 800, 620, 430])
def test_nothing_comes_back_is_not_cut_off(chromium, tmp_path, width):
    points = POINTS.copy()
    points[9] = 500, 400  # far outside
    page = open_widget(chromium, CodecLab(IMAGE, points, BOX, VISIBLE, selected=9, metainfo=METAINFO), tmp_path, width=width)
    assert page.locator('[data-side=left] [data-fact=input]').inner_text() == 'nothing comes back'
    assert page.evaluate(CUT) == []
    outside = page.evaluate("""() => { const box = document.querySelector('.pb-widget').getBoundingClientRect();
        return [...document.querySelectorAll('.pb-widget dd')].filter((e) => e.getBoundingClientRect().right > box.right).length; }""")
    assert outside == 0
    page.context.close()


@pytest.mark.parametrize('make', WIDGETS)
@pytest.mark.parametrize('size', [(1280, 720), (1920, 1080)])
def test_a_projector_shows_all_of_it_large(chromium, tmp_path, make, size):
    page = open_widget(chromium, make(), tmp_path, *size)
    page.locator('.pb-present').click()
    page.evaluate('settled()')
    assert page.evaluate("(e => [e.scrollWidth - e.clientWidth, e.scrollHeight - e.clientHeight])"
                         "(document.querySelector('.pb-widget'))") == [0, 0]
    assert page.evaluate(CUT) == []
    sizes = page.evaluate("""() => [...document.querySelectorAll('.pb-widget :is(figcaption *, dt, dd, label, button, select)')]
        .filter((e) => e.checkVisibility() && e.textContent.trim()).map((e) => parseFloat(getComputedStyle(e).fontSize))""")
    assert min(sizes) >= 16
    widths = page.evaluate("pb().panels.map((p) => p.width)")
    assert min(widths) > 150, widths
    page.context.close()


def test_the_viewer_fits_on_a_screen(chromium, tmp_path):
    page = open_widget(chromium, viewer(), tmp_path, 1280, 900)
    assert page.locator('.pb-widget').bounding_box()['height'] < 800
    page.context.close()


def test_a_tap_chooses_a_map(chromium, tmp_path):
    page = open_widget(chromium, viewer(), tmp_path, has_touch=True)
    x, y = page.evaluate("""() => { const p = pb().store.points[0][0].argmax, [x, y] = onPanel('prediction', p); return [x, y]; }""")
    page.touchscreen.tap(x, y)
    page.evaluate('settled()')
    assert page.evaluate('pb().store.state.selected') in ([0], [1], [2])  # nose and eyes lie close
    assert page.locator('[data-fact=probe]').inner_text() != '–', 'what was tapped stays readable'
    page.context.close()


def test_no_script_writes_html_by_itself():
    folder = resources.files('posebook') / 'widgets/static'
    for script in (p for p in folder.iterdir() if p.name.endswith('.js')):
        found = re.findall(r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|\beval\b',
                           script.read_text(encoding='utf-8'))
        assert found == (['innerHTML'] if script.name == 'page.js' else []), script.name
