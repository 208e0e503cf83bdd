"""HRNetExplorer in a real Chromium: choosing parts by pointer and keys, cutting paths, themes and widths."""
import base64
import json

import cv2
import numpy as np
import pytest

from widget_checks import (check_grey_after_restart, check_harmless, check_names, hostile_names, spoken)
from widget_lab import (answer, check_themes, check_width, drawn, opened_notebook, run_cell, same_picture,
                        scroll_away_and_back, state, unnamed_controls, widget_at_rest)

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SCENE = f'''
import copy
import json
import numpy as np
import torch
from posebook.codecs import MSRAHeatmap
from posebook.models import HeatmapHead, HRNet, PoseDataPreprocessor, TopdownPoseEstimator, hrnet_extra
from posebook.widgets import HRNetExplorer
from posebook.widgets.hrnet.recording import sample_picture, small_hrnet

torch.set_num_threads(1)
torch.manual_seed(0)
norm = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
names = {hostile_names(5)!r}
Head = type(names[0], (HeatmapHead,), {{}})   # a class may have any name
model = TopdownPoseEstimator(small_hrnet(), data_preprocessor=PoseDataPreprocessor(**norm), head=Head(
    8, 5, None, None, decoder=MSRAHeatmap((96, 128), (24, 32), sigma=2)))
torch.nn.init.normal_(model.head.final_layer.weight)
crop = sample_picture((96, 128))
metainfo = dict(keypoint_id2name=dict(enumerate(names)))
'''
NOTEBOOK = [SCENE + '''
explorer = HRNetExplorer(model, crop, metainfo)
explorer
''', '''
open('seen.json', 'w').write(json.dumps(explorer.settings.to_dict()));
''', '''
if 'ready' in globals():   # not yet when all cells are run
    with torch.no_grad():
        model.backbone.conv1.weight.mul_(-1)
    explorer.update(selected='stem', cuts=['stage2.0.fuse_layers.0.1'])
ready = True
open('updated.json', 'w').write(json.dumps(repr(explorer)));
''', '''
if 'done' in globals():
    with torch.no_grad():
        model.backbone.conv1.weight.mul_(-1)
    explorer.update(selected='layer1', cuts=[])
done = True
open('back.json', 'w').write('1');
''', '''
if 'go' in globals():
    model.load_state_dict(start)
    torch.manual_seed(5)
    optimizer, told = torch.optim.SGD(model.parameters(), lr=1e-3), []
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(torch.randn(2, 3, 128, 96), mode='tensor')[0].square().mean()
        loss.backward()
        optimizer.step()
        told.append([loss.item(), all(m.training for m in model.modules()), torch.get_num_threads(),
                     sum(len(m._forward_hooks) for m in model.modules())])
    told.append(float(sum(p.double().abs().sum() for p in model.parameters())))
    open('trained.json', 'w').write(json.dumps(told))
else:
    start, steps, go = copy.deepcopy(model.state_dict()), 40, True;
''']

PATH = 'stage4.0.fuse_layers.0.2'
page = opened_notebook('hrnet', NOTEBOOK)
widget = widget_at_rest('page')

# where on the page a part of the diagram is: the middle of a box, a spot of a path that is closest to this path
SPOT = '''(name) => {
  const svg = document.querySelector('.pb-net svg');
  svg.scrollIntoView({ block: 'center' }); // the widget may be higher than the page
  const { left, top, width } = svg.getBoundingClientRect();
  const { scene, parts } = pb().store, k = width / scene.diagram_size[0];
  const away = ([px, py], [x1, y1, x2, y2]) => {
    const t = Math.max(0, Math.min(1, ((px - x1) * (x2 - x1) + (py - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2)));
    return Math.hypot(px - x1 - t * (x2 - x1), py - y1 - t * (y2 - y1));
  };
  const [x1, y1, x2, y2] = parts[name].place, at = (t) => [x1 + t * (x2 - x1), y1 + t * (y2 - y1)];
  if (!parts[name].source) return [left + k * at(0.5)[0], top + k * at(0.5)[1]];
  const others = scene.parts.filter((p) => p.source && p.kind !== 'wire' && p.name !== name);
  const room = (t) => Math.min(...others.map((p) => away(at(t), p.place)));
  const best = [...Array(40).keys()].map((i) => 0.12 + i / 52).sort((a, b) => room(b) - room(a))[0];
  return [left + k * at(best)[0], top + k * at(best)[1]];
}'''


@pytest.fixture(scope='module')
def scene():
    names = {}
    exec(SCENE, names)
    return names


def choose(page, name):
    page.mouse.click(*page.evaluate(SPOT, name))
    return answer(page)


def fact(page, key):
    return page.locator(f'[data-fact={key}]').inner_text()


def names_of(page, kinds):
    return page.evaluate('kinds => pb().store.scene.parts.filter(p => kinds.includes(p.kind)).map(p => p.name)', kinds)


def test_diagram_and_panels_are_drawn(widget):
    for name in ('picture', 'channels', 'before', 'after'):
        assert len(np.unique(drawn(widget, name).reshape(-1, 3), axis=0)) > 100, name
    assert widget.locator('.pb-net image').count() == 1 + 1 + 1 + 2 + 3 + 3 + 4 + 1
    assert widget.locator('.pb-net rect.sum').count() == 2 + 3 + 3 + 1
    assert 'parameters' in widget.locator('.pb-net figcaption span').inner_text()
    sizes = widget.evaluate("[...document.querySelectorAll('.pb-net image')].map(e => e.getBoundingClientRect().width)")
    assert min(sizes) > 30
    assert widget.problems == []


def test_every_part_can_be_clicked(widget):
    for name in names_of(widget, ['input', 'stem', 'layer1', 'branch', 'sum', 'head', 'transition', 'fuse']):
        widget.mouse.click(*widget.evaluate(SPOT, name))
        assert state(widget)['selected'] == name
    assert 'error' not in answer(widget) and widget.problems == []


def test_a_click_tells_of_the_part(widget, scene, lab):
    choose(widget, 'stage3.1.branches.2')
    assert run_cell(widget, 1, lab[1] / 'seen.json')['selected'] == 'stage3.1.branches.2'
    weights = sum(p.numel() for p in scene['model'].backbone.stage3[1].branches[2].parameters())
    assert fact(widget, 'params').startswith(f'{weights / 1000:.3g} k (') and '%' in fact(widget, 'macs')
    assert fact(widget, 'given') == fact(widget, 'made') == '32 x 8 x 6'
    assert fact(widget, 'prefix') == 'backbone.stage3.1.branches.2'
    assert 'stage 3, module 2: 1 BasicBlock, stride 16' in widget.locator('.pb-net output').inner_text()
    before = drawn(widget, 'picture')
    choose(widget, PATH)
    assert fact(widget, 'given') == '32 x 8 x 6' and fact(widget, 'made') == '8 x 32 x 24'
    assert (drawn(widget, 'picture') != before).any(axis=2).mean() > 0.2
    terms = widget.locator('.pb-terms button')
    assert terms.count() == 4 and terms.nth(2).get_attribute('aria-pressed') == 'true'
    assert terms.nth(2).locator('span').inner_text() == '1x1 conv 32 to 8 + upsample x4 (nearest)'
    terms.nth(0).click()
    answer(widget)
    assert state(widget)['selected'] == 'stage4.0.fuse_layers.0.0' and fact(widget, 'params') == '0 (0.0%)'


def test_the_picture_is_the_map(widget, scene):
    """Without the crop under it the panel is the map in its colours, where the library says it lies."""
    choose(widget, 'stage3.1.branches.1')
    widget.locator('[data-key=opacity]').fill('1')
    answer(widget)
    widget.mouse.move(5, 5)
    mean = scene['HRNetExplorer'](scene['model'], scene['crop']).recording().maps['stage3.1.branches.1'].abs().mean(0)
    y, x = np.unravel_index(int(mean.argmax()), mean.shape)
    shown = drawn(widget, 'picture').astype(int)
    scale = shown.shape[1] / 96
    brightest = shown[round((8 * y + 0.5) * scale), round((8 * x + 0.5) * scale)]
    assert np.abs(brightest - [0xa4, 0xff, 0xfc]).max() < 30  # BGR of inferno's end
    low, high = (float(v) for v in widget.locator('.pb-input figcaption span').inner_text().split(', ')[1].split(' to '))
    assert (low, high) == pytest.approx((0, float(mean.max())), abs=0.006)


def test_cutting_changes_the_output_and_reset_restores_it(widget, scene, lab):
    before, whole = drawn(widget, 'before'), drawn(widget, 'after')
    assert np.abs(before.astype(int) - whole).mean() < 1
    choose(widget, PATH)
    widget.locator('.pb-cut').click()
    result = answer(widget)
    assert state(widget)['cuts'] == [PATH] and widget.locator('.pb-net .cross').count() == 1
    assert run_cell(widget, 1, lab[1] / 'seen.json')['cuts'] == [PATH]
    expected = scene['HRNetExplorer'](scene['model'], scene['crop'], scene['metainfo'], cuts=[PATH]).result
    assert result['change'] == pytest.approx(expected['change'], abs=1e-5)
    assert fact(widget, 'heat') == expected['texts']['heat'] != '0.0%'
    assert fact(widget, 'shift') == expected['texts']['shift']
    assert (np.abs(drawn(widget, 'after').astype(int) - whole).max(axis=2) > 20).mean() > 0.02
    assert same_picture(drawn(widget, 'before').ravel().astype(int), before.ravel())
    choose(widget, 'stage2.0.fuse_layers.1.0')
    widget.locator('.pb-cut').click()
    answer(widget)
    assert len(state(widget)['cuts']) == 2 and widget.locator('.pb-net .gone').count() == 2
    widget.locator('.pb-heal').click()
    answer(widget)
    assert state(widget)['cuts'] == [] and fact(widget, 'heat') == '0.0%'
    widget.locator('.pb-cut').click()
    answer(widget)
    widget.locator('.pb-reset').click()
    answer(widget)
    assert state(widget)['cuts'] == [] and state(widget)['selected'] == 'layer1'
    assert same_picture(drawn(widget, 'after').ravel().astype(int), whole.ravel())


def test_bars_show_what_is_asked(widget):
    def bars():
        return widget.evaluate("[...document.querySelectorAll('.pb-net .bar')].map(e => e.getBoundingClientRect().width)")
    macs = bars()
    widget.locator('[data-key=shade]').select_option('"params"')
    answer(widget)
    assert len(bars()) == len(macs) == 15 and not np.allclose(bars(), macs, atol=2)
    widget.locator('[data-key=shade]').select_option('"change"')
    answer(widget)
    assert bars() == []
    choose(widget, PATH)
    widget.keyboard.press('x')
    answer(widget)
    assert len(bars()) == 1, 'only the head comes after the last sum'


def test_channels_are_chosen_by_pointer_and_keys(widget):
    choose(widget, 'stage4.0.branches.1')
    mean = drawn(widget, 'picture')
    widget.locator('[data-panel=channels]').scroll_into_view_if_needed()
    widget.mouse.click(*widget.evaluate('a => onPanel(...a)', ['channels', [1.5 / 4 * 96, 2.5 / 4 * 128]]))
    answer(widget)
    assert (state(widget)['reduce'], state(widget)['channel']) == ('channel', 9)  # of 16 in rows of four
    widget.mouse.move(5, 5)
    assert (drawn(widget, 'picture') != mean).any(axis=2).mean() > 0.2
    widget.locator('[data-panel=channels]').focus()
    for key, channel in (('ArrowRight', 10), ('ArrowUp', 6), ('ArrowLeft', 5), ('ArrowDown', 9)):
        widget.keyboard.press(key)
        assert state(widget)['channel'] == channel
        answer(widget)
    widget.keyboard.press('m')
    answer(widget)
    assert state(widget)['reduce'] == 'mean'
    assert same_picture(drawn(widget, 'picture').ravel().astype(int), mean.ravel())


def test_the_probe_reads_all_three_pictures(widget):
    choose(widget, 'stage3.0.branches.2')
    widget.mouse.move(5, 5)
    before = {name: drawn(widget, name) for name in ('picture', 'before', 'after')}
    widget.locator('[data-panel=picture]').scroll_into_view_if_needed()
    widget.mouse.move(*widget.evaluate('a => onPanel(...a)', ['picture', [48., 64.]]))
    widget.evaluate('frame().then(frame)')
    assert widget.evaluate('pb().store.probe') == [48, 64]
    for name, old in before.items():
        assert (drawn(widget, name) != old).any(axis=2).mean() > 0.005, name
    widget.locator('[data-panel=after]').focus()
    widget.keyboard.press('ArrowRight')
    widget.keyboard.press('Shift+ArrowUp')
    assert widget.evaluate('pb().store.probe') == [52, 24]


def test_difference_and_single_heatmaps(widget, scene):
    choose(widget, PATH)
    widget.keyboard.press('x')
    answer(widget)
    output = drawn(widget, 'after')
    widget.locator('[data-key=view]').select_option('"difference"')
    answer(widget)
    assert (drawn(widget, 'after') != output).any(axis=2).mean() > 0.1
    whole = drawn(widget, 'before')
    widget.locator('[data-key=joint]').select_option('3')
    answer(widget)
    assert (drawn(widget, 'before') != whole).any(axis=2).mean() > 0.02
    assert widget.locator('.pb-output output').first.inner_text() == scene['names'][3]


def test_keyboard_walks_and_cuts(widget):
    cells = widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length')
    widget.locator('.pb-net svg').focus()
    walked = []
    for key in ('ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowDown', 'ArrowDown', 'x', 'ArrowRight', 'ArrowUp'):
        widget.keyboard.press(key)
        walked.append(state(widget)['selected'])
    assert walked == ['transition1.0', 'stage2.0.branches.0', 'stage2.0.fuse_layers.0.0', 'stage2.0.fuse_layers.0.1',
                      'stage2.0.fuse_layers.1.0', 'stage2.0.fuse_layers.1.0', 'stage2.0.fuse_layers.1',
                      'stage2.0.fuse_layers.0']
    assert state(widget)['cuts'] == ['stage2.0.fuse_layers.1.0']
    widget.keyboard.press('x')  # a sum cannot be cut
    assert len(state(widget)['cuts']) == 1
    for key in ('b', 'd', 'd', 'm'):
        widget.keyboard.press(key)
    assert widget.evaluate('jupyterapp.shell.currentWidget.content.widgets.length') == cells
    widget.wait_for_function("document.querySelector('.pb-live').textContent.includes('Sum of branch 0')")
    assert '1 cut, output changed by' in widget.locator('.pb-live').inner_text()
    widget.keyboard.press('Escape')
    assert widget.evaluate('document.activeElement.dataset.key') == 'shade'
    assert unnamed_controls(widget) == []


def test_update_from_python_brings_new_weights(widget, lab):
    stem = widget.locator('.pb-net image').nth(1)
    before = stem.get_attribute('href')
    assert "selected='stem'" in run_cell(widget, 2, lab[1] / 'updated.json')
    widget.evaluate('settled()')
    assert state(widget)['selected'] == 'stem' and stem.get_attribute('href') != before
    assert widget.locator('.pb-net .cross').count() == 1
    run_cell(widget, 3, lab[1] / 'back.json')
    widget.evaluate('settled()')
    png = base64.b64decode(stem.get_attribute('href').split(',')[1])
    assert stem.get_attribute('href') == before and cv2.imdecode(np.frombuffer(png, np.uint8), 1).shape == (40, 30, 3)


def test_a_bad_request_is_reported_and_forgotten(widget):
    widget.evaluate("pb().store.change({ cuts: ['stem'] })")
    widget.wait_for_function("document.querySelector('.pb-status').textContent.includes('cuts must be')")
    widget.evaluate('pb().store.change({ cuts: [] })')
    widget.wait_for_function("document.querySelector('.pb-status').textContent === ''")


def test_themes_and_widths(widget):
    check_themes(widget, '.pb-hrnet')
    for width in (1400, 1150, 900, 700, 560, 420):
        check_width(widget, '.pb-hrnet', width)
        assert widget.evaluate("panel('picture').width") > 110
        assert widget.evaluate("document.querySelector('.pb-net image').getBoundingClientRect().width") > 30, width
        widget.locator('.pb-net svg').focus()
        for _ in range(11):  # to the head, which is scrolled to
            widget.keyboard.press('ArrowRight')
        answer(widget)
        right = widget.evaluate("document.querySelector('.pb-net rect.on').getBoundingClientRect().right")
        assert right <= widget.evaluate("document.querySelector('.pb-net').getBoundingClientRect().right") + 1, width


def test_redraws_after_it_was_scrolled_away(widget):
    choose(widget, PATH)
    widget.mouse.move(5, 5)
    answer(widget)
    before = widget.evaluate("Array.from(pixels('picture'))")
    scroll_away_and_back(widget)
    assert same_picture(widget.evaluate("Array.from(pixels('picture'))"), before)
    assert widget.locator('.pb-net path.on').count() == 1


def test_names_are_text_and_every_control_has_one(widget, scene):
    choose(widget, 'head')
    widget.keyboard.press('Escape')
    widget.locator('[data-key=joint]').select_option('2')
    answer(widget)
    check_harmless(widget, [*scene['names'], f'Head: {scene["names"][0]}'])
    choose(widget, PATH)
    widget.keyboard.press('x')
    answer(widget)
    names = check_names(widget)
    assert {'bars show', 'selected: picture of', 'heatmap', 'with cuts: show'} <= set(names['combobox'])
    assert names['slider'] == ['opacity'] and len(names['application']) == 5
    assert {'restore path 2 to 0', 'restore all', 'copy the weights again', 'undo', 'present'} <= set(names['button'])


def test_a_slider_is_spoken(widget):
    widget.locator('[data-key=opacity]').focus()
    widget.keyboard.press('Home')
    assert spoken(widget).startswith('opacity 0. Stage 1. ')


def test_cuts_are_undone_and_redone(widget):
    choose(widget, PATH)
    widget.keyboard.press('x')
    answer(widget)
    choose(widget, 'stage2.0.fuse_layers.1.0')
    widget.keyboard.press('x')
    answer(widget)
    both = state(widget)['cuts']
    widget.locator('.pb-undo').click()
    assert state(widget)['cuts'] == [PATH] and answer(widget)['change']['stage2.0.fuse_layers.1'] == 0
    widget.locator('.pb-redo').click()
    assert state(widget)['cuts'] == both
    widget.locator('.pb-cut').click()  # one control: this path alone
    assert state(widget)['cuts'] == [PATH]
    widget.wait_for_timeout(700)  # quicker ones are one step
    widget.locator('.pb-heal').click()
    widget.keyboard.press('Control+z')
    assert state(widget)['cuts'] == [PATH]


IN_SIGHT = """() => [...document.querySelectorAll('.pb-net svg, .pb-output canvas, .pb-cut, [data-fact=heat], [data-fact=farthest]')]
    .map((e) => e.getBoundingClientRect()).map((r) => r.top >= 0 && r.left >= 0 && r.bottom <= innerHeight && r.right <= innerWidth)"""


def test_path_and_effect_are_seen_together(widget):
    widget.set_viewport_size(dict(width=1280, height=720))  # 1080p at 150 %
    widget.evaluate("document.querySelector('.pb-scene').scrollIntoView({ block: 'end' })")
    widget.evaluate('settled()')
    widget.wait_for_function(f'(({IN_SIGHT})()).every(Boolean)')  # the notebook may still be scrolling
    assert widget.evaluate(IN_SIGHT) == [True] * 6


def test_presenter_mode_shows_all_at_once(widget):
    for size in (dict(width=1280, height=720), dict(width=1920, height=1080)):
        widget.set_viewport_size(size)
        widget.locator('.pb-present').click()
        widget.evaluate('settled()')
        assert widget.evaluate(IN_SIGHT) == [True] * 6
        sizes = widget.evaluate("""() => [...document.querySelectorAll('.pb-widget :is(p, span, b, dt, dd, h4, button, output, svg text)')]
            .filter((e) => e.checkVisibility() && e.textContent.trim() && !e.closest('.pb-live')).map((e) => parseFloat(getComputedStyle(e).fontSize))""")
        assert min(sizes) >= 14
        assert widget.evaluate("(e => [e.scrollWidth <= e.clientWidth, e.scrollHeight <= e.clientHeight])"
                               "(document.querySelector('.pb-widget'))") == [True, True], size
        widget.locator('.pb-present').click()


def test_it_says_what_is_untrained_and_copies_again(widget, lab):
    note = widget.locator('.pb-note')
    assert 'The weights of the backbone' in note.inner_text() and 'means nothing' in note.inner_text()
    stem = widget.locator('.pb-net image').nth(1)
    before = stem.get_attribute('href')
    widget.evaluate("jupyterapp.shell.currentWidget.context.sessionContext.session.kernel"
                    ".requestExecute({ code: 'with torch.no_grad(): model.backbone.conv1.weight.mul_(-1)' }).done")
    choose(widget, 'stem')
    assert note.inner_text().startswith('Your model has changed') and stem.get_attribute('href') == before
    widget.locator('.pb-copy').click()
    answer(widget)
    assert stem.get_attribute('href') != before and note.inner_text().startswith('The weights')
    widget.evaluate("jupyterapp.shell.currentWidget.context.sessionContext.session.kernel"
                    ".requestExecute({ code: 'with torch.no_grad(): model.backbone.conv1.weight.mul_(-1)' }).done")
    widget.locator('.pb-copy').click()
    answer(widget)


def test_a_training_cell_notices_nothing_of_cuts(widget, lab):
    """The kernel answers while the cell runs; losses, modes and weights are those of a run that nobody watched."""
    file = lab[1] / 'trained.json'
    alone = run_cell(widget, 4, file, seconds=60)
    assert all(step[1:] == [True, alone[0][2], 0] for step in alone[:-1])
    file.unlink()
    choose(widget, PATH)
    before = widget.evaluate('pb().stats.answered')
    widget.evaluate("""() => { const nb = jupyterapp.shell.currentWidget.content; nb.activeCellIndex = 4;
        nb.deselectAll(); jupyterapp.commands.execute('notebook:run-cell'); }""")
    widget.locator('.pb-net svg').focus()
    for _ in range(600):
        if file.exists():
            break
        widget.keyboard.press('x')
        widget.wait_for_timeout(50)
    widget.evaluate('settled()')
    assert run_cell(widget, 1, lab[1] / 'seen.json') and widget.evaluate('pb().stats.answered') > before
    assert json.loads(file.read_text()) == alone


def test_after_a_restart_old_numbers_are_grey(widget):  # the last one: it ends the kernel
    check_grey_after_restart(widget, "pb().store.change({ selected: 'stem' })")
