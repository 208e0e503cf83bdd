"""LossExplorer without a browser: numbers of the library, gradients that are slopes, wrong settings named."""
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from posebook.codecs import MSRAHeatmap
from posebook.registry import MODELS
from posebook.widgets import LossExplorer, LossSettings
from posebook.widgets.loss_explorer import (LOSSES, STEPS, TRUTH, answer, bumps, flow_answer, trained_flows,
                                            values_and_gradients)

ALL = LOSSES['points'] + LOSSES['heatmaps']


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


@pytest.mark.parametrize('name', ALL)
def test_gradients_are_slopes(name):
    settings = made(loss=name)
    for axis in range(2):
        step = np.eye(2)[axis] * .05
        values, gradients = values_and_gradients(name, np.stack([settings.point - step, settings.point, settings.point + step]), settings)
        assert float(values[2] - values[0]) / .1 == pytest.approx(gradients[1, axis], rel=.03, abs=2e-5 + 2e-3 * float(abs(gradients).max()))


@pytest.mark.parametrize('name', ALL)
def test_landscape_and_curves(name):
    """The landscape is lowest at the truth (RLE: near it); a curve has the value at the point."""
    settings = made(loss=name, point=(72., 48.))
    found = answer(settings)
    land, names = found['landscape'], found['curves']['names']
    values = np.frombuffer(land['values'], np.uint8).reshape(land['n'], land['n'])
    y, x = np.unravel_index(values.argmin(), values.shape)
    assert np.hypot(*(np.array([x, y]) * 95 / (land['n'] - 1) - TRUTH)) < (8 if name == 'RLELoss' else 3)
    assert np.frombuffer(land['field'], np.float32).shape == (200,)
    table = np.frombuffer(found['curves']['table'], np.float32).reshape(len(names), 2, 49)
    own = table[names.index(name)]
    assert own[0, 24] == pytest.approx(found['value'], rel=1e-4, abs=1e-6)
    assert own[1, 24] == pytest.approx(np.hypot(*found['slope']), rel=1e-3, abs=1e-6)
    assert np.isfinite(table).all()


def test_at_the_truth_nothing_breaks():
    for name in ALL:
        found = answer(made(loss=name, point=TRUTH))
        assert math.isfinite(found['value']) and np.isfinite(found['slope']).all() and found['distance'] == 0
        if name not in ('RLELoss', 'FocalHeatmapLoss', 'KeypointMSELoss', 'AdaptiveWingLoss'):
            assert found['value'] == pytest.approx(0, abs=1e-6)


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


@pytest.mark.parametrize('name', ['WingLoss', 'RLELoss', 'AdaptiveWingLoss'])
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
    assert len(script.encode()) < 30_000
    code = "import sys, posebook.widgets; assert 'posebook.widgets.loss_explorer' not in sys.modules"
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.slow
def test_the_flow_is_trained_wherever_it_is_asked_for_first():
    with torch.no_grad():
        flows = trained_flows.__wrapped__()
    assert len(flows) == len(STEPS)
