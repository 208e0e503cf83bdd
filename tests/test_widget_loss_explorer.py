"""LossExplorer without a browser: numbers of the library, gradients that are slopes, wrong settings named."""
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from families import members

from posebook.codecs import MSRAHeatmap
from posebook.registry import MODELS
from posebook.widgets import LossExplorer, LossSettings
from posebook.widgets.base import SCRIPT_LIMIT
from posebook.widgets.loss_explorer import (LOSS_COLORS, LOSS_DASHES, LOSSES, NEAR, STEPS, STRIDE, TRUTH, answer, bumps,
                                            each_value, flow_answer, fresh_flow, spread, trained_flows,
                                            values_and_gradients)

ALL = LOSSES['points'] + LOSSES['heatmaps']
CORE = ('L1Loss', 'KeypointMSELoss')  # the quick round tries these


@pytest.fixture(autouse=True, scope='module')
def threads():
    """One is quickest on small tensors, and leaves the others to other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(**changes):
    return LossSettings(**dict(loss='L1Loss', point=(61.3, 40.2), unit='pixels', sigma=6, step=8, height=.9,
                               map='gradient') | changes)


@pytest.fixture(scope='module')
def explorer():
    return LossExplorer()


def ask(explorer, number=1, **changes):
    explorer.request = explorer.state | changes | dict(id=number)
    return explorer.result


@pytest.mark.parametrize('unit', ['pixels', 'fractions'])
@pytest.mark.parametrize('name', ALL)
@pytest.mark.slow
def test_values_are_the_librarys(name, unit):
    """The same as the registered loss, called as a head would."""
    settings = made(loss=name, unit=unit)
    scale = 1 / 96 if unit == 'fractions' or name == 'RLELoss' else 1
    point = torch.tensor(settings.point, dtype=torch.float32)[None, None]
    pred, truth = point * scale, torch.tensor(TRUTH)[None, None] * scale
    if name == 'RLELoss':
        want = trained_flows()[8](pred, torch.full((1, 1, 2), math.log(6 / 90)), truth)
    elif name in LOSSES['heatmaps']:
        encode = MSRAHeatmap((96, 96), (24, 24), sigma=2, unbiased=True).encode
        maps = [torch.from_numpy(encode(np.array([[p]]))['heatmaps'])[None] for p in (settings.point, TRUTH)]
        want = MODELS.build(dict(type=name))(maps[0] * .9, maps[1])
    elif name == 'OKSLoss':
        want = MODELS.build(dict(type=name))(pred, truth, areas=torch.tensor([(32 * scale)**2]))
    else:
        want = MODELS.build(dict(type=name))(pred, truth)
    found = answer(settings)
    assert found['value'] == pytest.approx(want.item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize('name', members(ALL, CORE))
def test_gradients_are_slopes(name):
    settings = made(loss=name)
    for axis in range(2):
        step = np.eye(2)[axis] * .05
        values, gradients = values_and_gradients(name, np.stack([settings.point - step, settings.point, settings.point + step]), settings)
        assert float(values[2] - values[0]) / .1 == pytest.approx(gradients[1, axis], rel=.03, abs=2e-5 + 2e-3 * float(abs(gradients).max()))


@pytest.mark.parametrize('name', members(ALL, CORE))
def test_landscape_and_curves(name):
    """The landscape is lowest at the truth (RLE: near it); a curve has the value at the point."""
    settings = made(loss=name, point=(72., 48.))
    found = answer(settings)
    land, names = found['landscape'], found['curves']['names']
    values = np.frombuffer(land['values'], np.uint8).reshape(land['n'], land['n'])
    y, x = np.unravel_index(values.argmin(), values.shape)
    middle = land['n'] // 2
    if name == 'RLELoss':
        assert np.hypot(*(np.array([x, y]) * 96 / (land['n'] - 1) - TRUTH)) < 8
    else:
        assert values[middle, middle] == values.min(), 'the truth is one of the points'
    assert np.frombuffer(land['field'], np.float32).shape == (200,)
    table = np.frombuffer(found['curves']['table'], np.float32).reshape(len(names), 2, 49)
    own = table[names.index(name)]
    assert own[0, 24] == pytest.approx(found['value'], rel=1e-4, abs=1e-6)
    assert own[1, 24] == pytest.approx(np.hypot(*found['slope']), rel=1e-3, abs=1e-6)
    assert np.isfinite(table).all()


@pytest.mark.slow
def test_at_the_truth_nothing_breaks():
    for name in ALL:
        found = answer(made(loss=name, point=TRUTH))
        assert math.isfinite(found['value']) and np.isfinite(found['slope']).all() and found['distance'] == 0
        if name not in ('RLELoss', 'FocalHeatmapLoss', 'KeypointMSELoss', 'AdaptiveWingLoss'):
            assert found['value'] == pytest.approx(0, abs=1e-6)


def values_at(settings, points):
    with torch.no_grad():
        return each_value(settings.loss, torch.tensor(points, dtype=torch.float32), settings).numpy()


@pytest.mark.slow
@pytest.mark.parametrize('name, unit', [(n, 'pixels') for n in ALL] + [(n, 'fractions') for n in LOSSES['points'][:-2]])
def test_lowest_and_steepest_are_what_they_say(name, unit):
    """Nothing on a dense grid is lower or steeper, and both are taken on somewhere."""
    settings = made(loss=name, unit=unit)
    land = answer(settings)['landscape']
    assert values_at(settings, np.array([land['at']]))[0] == pytest.approx(land['lowest'], abs=1e-7)
    ticks = np.arange(0, 95.01, 4. if settings.kind == 'heatmaps' else 1.)
    points = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    values = values_at(settings, points)
    assert land['lowest'] <= values.min() + 1e-6 * abs(values.min()) + 1e-9
    assert land['low'] >= land['lowest'] - 1e-6 and land['high'] <= max(values.max(), land['high'])
    rng, count = np.random.default_rng(0), 200 if settings.kind == 'heatmaps' else 3000
    away, turn = rng.uniform(0, NEAR, count), rng.uniform(0, 7, count)
    near = TRUTH + away[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    slopes = np.hypot(*values_and_gradients(name, near, settings)[1].T)
    assert slopes.max() <= land['steepest'] * 1.02, 'the flow is rough: a hundredth more somewhere is no lie at three digits'
    # the losses that are worked out by hand: mean over x and y
    scale = 1 / 96 if unit == 'fractions' else 1
    known = dict(L1Loss=math.hypot(.5, .5) * scale, MSELoss=NEAR * scale**2, MPJPELoss=scale)
    if name in known:
        assert land['steepest'] == pytest.approx(known[name], rel=1e-3)
    if name in LOSSES['points'] and name != 'RLELoss':
        assert land['lowest'] == 0 and land['at'] == list(TRUTH)


@pytest.mark.parametrize('start', [(70., 34.), (49.5, 48.)])
@pytest.mark.parametrize('name', ALL)
@pytest.mark.slow
def test_steps_downhill_never_jump_back_and_forth(name, start):
    """Each step lowers the loss by the library's own number, none is longer than STRIDE, and they end."""
    settings, memory, values = made(loss=name, point=start), {}, []
    for _ in range(250):
        found = answer(settings, memory)
        values.append(found['value'])
        if found['next'] is None:
            break
        assert np.hypot(*np.subtract(found['next'], settings.point)) <= STRIDE + 1e-6
        settings = made(loss=name, point=found['next'])
    assert found['next'] is None, f'{len(values)} steps, and no end'
    assert all(later < before for before, later in zip(values, values[1:]))
    bowls = set(LOSSES['points']) - {'RLELoss'}
    if name in bowls:
        assert found['distance'] < .1, (found['distance'], found['value'])


def test_curves_can_be_told_apart_without_colours():
    """Of two of a kind either the dashes differ or how light they are, and no two share both dash and colour."""
    def lightness(color):
        rgb = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= .04045 else ((v + .055) / 1.055)**2.4 for v in rgb]
        y = np.dot(linear, (.2126, .7152, .0722))
        return 116 * y**(1 / 3) - 16

    for names in LOSSES.values():
        for i, one in enumerate(names):
            assert lightness(LOSS_COLORS[one]) > 50, f'{one} on the dark ground'
            for other in names[i + 1:]:
                if LOSS_DASHES[one] == LOSS_DASHES[other]:
                    assert abs(lightness(LOSS_COLORS[one]) - lightness(LOSS_COLORS[other])) > 8, (one, other)


def test_labels_are_spread_in_their_order():
    places = spread(np.array([1., 1., .2, .98]), .1, 0, 1.05)
    assert sorted(range(4), key=lambda i: places[i]) == [2, 3, 0, 1]
    gaps = np.diff(np.sort(places))
    assert (gaps >= .1 - 1e-9).all() and places.min() >= 0 and places.max() <= 1.05
    assert spread(np.array([.1, .5]), .1, 0, 1).tolist() == [.1, .5], 'nothing moves without need'
    assert np.ptp(spread(np.ones(30), .1, 0, 1)) == pytest.approx(1)


def test_the_chosen_curve_is_drawn_last():
    from matplotlib.colors import to_hex
    figure = LossExplorer('L1Loss').figure()
    lines = sorted((line for line in figure.axes[1].lines if len(line.get_xdata()) == 49), key=lambda line: line.zorder)
    assert to_hex(lines[-1].get_color()).upper() == LOSS_COLORS['L1Loss'] and lines[-1].get_linewidth() > lines[0].get_linewidth()
    assert {t.get_text() for t in figure.axes[1].texts} == {name[:-4] for name in LOSSES['points']}


def test_a_fresh_flow_is_what_the_library_makes():
    """Same buffers, same spread of numbers; drawn from a generator alone."""
    from posebook.models.losses import RealNVP
    flow, theirs = fresh_flow(torch.Generator().manual_seed(0)), RealNVP()
    for name, buffer in theirs.named_buffers():
        assert torch.equal(flow.get_buffer(name), buffer), name
    for made_here, made_there in zip(flow.modules(), theirs.modules()):
        if isinstance(made_there, torch.nn.Linear):
            ends = .01 * (6 / sum(made_there.weight.shape))**.5, made_there.in_features**-.5
            for layer in (made_here, made_there):
                for numbers, end in zip((layer.weight, layer.bias), ends):
                    assert (end / 3 if numbers.numel() > 16 else 0) < numbers.abs().max() <= end
    again = fresh_flow(torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(flow.parameters(), again.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_it_answers_where_gradients_are_off(mode):
    from posebook.widgets.loss_explorer import target_heatmap
    target_heatmap.cache_clear()
    with mode():
        explorer = LossExplorer('KeypointMSELoss')
    explorer.update(loss='WingLoss')
    with mode():
        explorer.update(loss='FocalHeatmapLoss', point=(60, 48))
    explorer.update(loss='KeypointMSELoss')
    assert 'error' not in explorer.result and explorer.result['slope'] != [0, 0]


def test_the_pixel_gradient_raises_the_truth_and_lowers_the_rest():
    found = answer(made(loss='KeypointMSELoss', point=(80., 48.)))['pixels']
    pixels = np.frombuffer(found['gradient'], np.uint8).reshape(24, 24).astype(int) - 128
    assert pixels[12, 12] == pixels.min() < -100 and pixels[12, 20] == pixels.max() > 100
    bump = torch.tensor([[80., 48.]])
    exact = 2 * (bumps(bump, .9)[0, 0] - bumps(torch.tensor([TRUTH]), 1.)[0, 0]) / 576
    assert np.abs(pixels / 127 * found['scale'] - exact.numpy()).max() < found['scale'] / 100


@pytest.mark.slow
def test_the_flow_learns():
    means = [flow_answer(made(loss='RLELoss', step=i))['mean'] for i in range(len(STEPS))]
    assert means[-1] < -3 and means[0] - means[-1] > 1
    assert flow_answer(made(loss='RLELoss', sigma=40))['mean'] > 0
    state = torch.random.get_rng_state()
    trained_flows.__wrapped__()
    assert torch.equal(state, torch.random.get_rng_state())  # the reader's seed is left alone


@pytest.mark.slow
def test_what_does_not_depend_on_the_point_is_kept():
    memory = {}
    first = answer(made(loss='RLELoss'), memory)
    second = answer(made(loss='RLELoss', point=(20, 20)), memory)
    assert second['landscape'] is first['landscape'] and second['flow']['values'] is first['flow']['values']
    assert second['flow']['doubts'] != first['flow']['doubts']
    assert answer(made(loss='RLELoss', sigma=9), memory)['landscape'] is not first['landscape']
    heat = answer(made(loss='KeypointMSELoss'), memory)
    assert heat['curves']['names'] == list(LOSSES['heatmaps']) and heat['flow'] is None
    lower = answer(made(loss='KeypointMSELoss', height=.5), memory)
    assert lower['curves']['table'] != heat['curves']['table']
    assert answer(made(), memory)['curves']['names'] == list(LOSSES['points'])


def test_requests(explorer):
    threads = torch.get_num_threads()
    assert ask(explorer, 3, point=[60, 48])['id'] == 3 and explorer.result['value'] == pytest.approx(11.5 / 2)
    assert 'sigma must be between 1 and 40' in ask(explorer, 4, sigma=99)['error']
    explorer.update(loss='MPJPELoss', point=(51, 52))
    assert explorer.result['value'] == pytest.approx(5) and explorer.state['version'] == 1
    assert 'MPJPELoss' in repr(explorer) and torch.get_num_threads() == threads


@pytest.mark.parametrize('name', members(['WingLoss', 'RLELoss', 'AdaptiveWingLoss'], ['WingLoss']))
def test_stand_in(name):
    data, _ = LossExplorer(name)._repr_mimebundle_()
    assert data['image/png'][:4] == b'\x89PNG' and len(data['image/png']) < 120_000
    assert name in data['text/plain']


@pytest.mark.parametrize('changes, message', [
    (dict(loss='L3Loss'), 'loss must be one of'), (dict(point=[[1, 2]]), r'point must be \(2,\)'),
    (dict(point=[math.nan, 0]), 'finite'), (dict(unit='mm'), 'unit'), (dict(sigma=0), 'sigma'),
    (dict(step=9), 'a state of the flow, 0 to 8'), (dict(height=1.), 'height'), (dict(map='all'), 'map')])
def test_wrong_settings(changes, message):
    with pytest.raises(ValueError, match=f'LossExplorer: .*{message}|LossExplorer: {message}'):
        made(**changes)


def test_script_is_small_and_the_other_widgets_do_not_pay():
    script = LossExplorer._esm if isinstance(LossExplorer._esm, str) else LossExplorer._esm._path.read_text()
    assert len(script.encode()) < SCRIPT_LIMIT
    code = "import sys, posebook.widgets; assert 'posebook.widgets.loss_explorer' not in sys.modules"
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.slow
def test_the_flow_is_trained_wherever_it_is_asked_for_first():
    with torch.no_grad():
        flows = trained_flows.__wrapped__()
    assert len(flows) == len(STEPS)
