"""HRNetExplorer without a browser: the drawing of any HRNet, costs that add up, cuts that are what they say."""
import gc
import importlib
import io
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from posebook.codecs import MSRAHeatmap, SimCCLabel
from posebook.models import HeatmapHead, HRNet, TopdownPoseEstimator, hrnet_extra
from posebook.models.complexity import count_macs, count_parameters
from posebook.widgets import HRNetExplorer, HRNetSettings
from posebook.widgets.base import SCRIPT_LIMIT
from posebook.widgets.hrnet.drawing import layout
from posebook.widgets.hrnet.parts import BOXES, KINDS, layer_macs, neighbours, network_parts, own_copy, part_costs
from posebook.widgets.hrnet.recording import as_bytes, channel_sheet, record, small_hrnet, untrained

CUT = ('stage3.0.fuse_layers.0.1', 'stage4.0.fuse_layers.0.2')


def extra(width=4, modules=(1, 2, 1), blocks=1, **last):
    made = hrnet_extra(width, modules, blocks, stem_width=8)
    return made | dict(stage4=dict(made['stage4'], **last))


def odd_extra():
    """Three branches at once, a stage of one branch before, bottlenecks, other widths."""
    def stage(modules, channels, block='BASIC'):
        return dict(num_modules=modules, num_branches=len(channels), block=block, num_blocks=(2,) * len(channels),
                    num_channels=channels)
    return dict(stage1=stage(1, (8,), 'BOTTLENECK'), stage2=stage(2, (12,)), stage3=stage(1, (4, 6, 10), 'BOTTLENECK'),
                stage4=stage(2, (4, 6, 10)) | dict(multiscale_output=True), upsample=dict(mode='bilinear'))


EXTRAS = dict(plain=(extra(), 4 + 2 * 9 + 4), all_out=(extra(multiscale_output=True), 4 + 2 * 9 + 16),
              deep=(extra(modules=(2, 1, 3)), 2 * 4 + 9 + 2 * 16 + 4), odd=(odd_extra(), 9 + 2 * 9),
              w18=(hrnet_extra(18, (1, 4, 3), 1), 4 + 4 * 9 + 2 * 16 + 4))


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)


@pytest.fixture(params=['plain', 'all_out', 'odd'])
def net(request):
    torch.manual_seed(0)
    return loud(HRNet(EXTRAS[request.param][0]))


def loud(model):
    """Random numbers that let signals through."""
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
        elif isinstance(m, nn.BatchNorm2d):
            m.running_var.fill_(4.)
            nn.init.uniform_(m.bias, -0.1, 0.1)
    return model


def estimator(codec=MSRAHeatmap((64, 64), (16, 16), sigma=2)):
    return loud(TopdownPoseEstimator(HRNet(extra()), head=HeatmapHead(4, 5, None, None, decoder=codec)))


def ask(explorer, number=1, **changes):
    explorer.request = explorer.state | changes | dict(id=number)
    return explorer.result


@pytest.mark.parametrize('name', EXTRAS)
def test_the_drawing_follows_the_network(name):
    made, paths = EXTRAS[name]
    net = HRNet(made)
    parts = network_parts(net)
    assert sum(p.kind == 'fuse' for p in parts.values()) == paths
    assert {p.kind for p in parts.values()} <= set(KINDS)
    for part in parts.values():
        assert not part.is_path or isinstance(net.get_submodule(part.name), nn.Module)
        if part.source:
            (x1, _), (x2, _) = parts[part.source].place, parts[part.target].place
            assert x1 < x2, part
    size, places = layout(parts, 4 / 3)
    boxes = [places[n] for n, p in parts.items() if p.kind in (*BOXES, 'sum')]
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        assert 0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]
        for u1, v1, u2, v2 in boxes[i + 1:]:
            assert x2 <= u1 or u2 <= x1 or y2 <= v1 or v2 <= y1, 'boxes do not overlap'
    lines = [places[n] for n, p in parts.items() if p.kind in ('fuse', 'transition')]
    assert len(set(lines)) == len(lines) and all(x1 < x2 for x1, _, x2, _ in lines)


@pytest.mark.parametrize('name', EXTRAS)
def test_arrow_keys_reach_every_part(name):
    parts = network_parts(HRNet(EXTRAS[name][0]))
    known = {n for n, p in parts.items() if p.kind != 'wire'}
    found, todo = set(), ['input']
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo += neighbours(parts, at)
    assert found == known


@pytest.mark.slow
@pytest.mark.parametrize('name', EXTRAS)
def test_costs_add_up(name):
    net = HRNet(EXTRAS[name][0])
    costs = part_costs(net, network_parts(net), torch.empty(1, 3, 64, 96)).values()
    assert sum(c['params'] for c in costs) == count_parameters(net)
    assert sum(c['macs'] for c in costs) == count_macs(net, (96, 64))


def test_costs_of_an_estimator_and_by_hand():
    model = estimator()
    parts = network_parts(model.backbone, head=model.head, prefix='backbone.')
    costs = part_costs(model, parts, torch.empty(1, 3, 64, 64))
    assert sum(c['params'] for c in costs.values()) == count_parameters(model)
    assert costs['head'] == dict(params=4 * 5 + 5, macs=4 * 5 * 16 * 16)
    assert costs['stage2.0.fuse_layers.0.1'] == dict(params=8 * 4 + 2 * 4, macs=8 * 4 * 8 * 8)
    assert costs['stem']['macs'] == 9 * 3 * 64 * 32**2 + 9 * 64 * 64 * 16**2
    assert costs['stage2.0.fuse_layers.0.0'] == costs['input'] == dict(params=0, macs=0)


def test_nothing_cut_is_the_plain_network(net):
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = net.eval()(x)
    parts = network_parts(net)
    found = record(net, x, parts)
    ends = [n for n, p in parts.items() if p.kind == 'sum'][-len(expected):]
    for name, one in zip(ends, expected):
        assert torch.equal(found.maps[name], one[0])
    assert set(found.maps) == {n for n, p in parts.items() if p.kind != 'wire'}


def stage_by_hand(module, maps, number, left_out):
    """An HRModule, written out, without the terms `left_out` as (to, from)."""
    maps = [branch(x) for branch, x in zip(module.branches, maps)]
    return [torch.relu(sum(path(maps[s]) for s, path in enumerate(row) if (t, s) not in left_out))
            for t, row in enumerate(module.fuse_layers)]


def test_a_cut_leaves_its_terms_out():
    torch.manual_seed(1)
    net = loud(HRNet(extra(multiscale_output=True))).eval()
    x, parts = torch.randn(1, 3, 64, 64), network_parts(net)
    cuts = ('stage3.0.fuse_layers.0.1', 'stage3.0.fuse_layers.2.2', 'stage4.0.fuse_layers.1.0')
    left_out = {('stage3', 0): {(0, 1), (2, 2)}, ('stage4', 0): {(1, 0)}}
    with torch.no_grad():
        maps = [net.layer1(net.relu(net.bn2(net.conv2(net.relu(net.bn1(net.conv1(x)))))))]
        for i in (2, 3, 4):
            maps = [p(maps[min(b, len(maps) - 1)]) for b, p in enumerate(getattr(net, f'transition{i - 1}'))]
            for m, module in enumerate(getattr(net, f'stage{i}')):
                maps = stage_by_hand(module, maps, m, left_out.get((f'stage{i}', m), ()))
    found = record(net, x, parts, cuts)
    for b, one in enumerate(maps):
        assert torch.allclose(found.maps[f'stage4.0.fuse_layers.{b}'], one[0], atol=1e-5)
    plain = record(net, x, parts)
    before = 'stage2.0.fuse_layers.1', 'stage3.0.branches.2', 'stage3.0.fuse_layers.1'
    assert all(torch.equal(plain.maps[n], found.maps[n]) for n in before), 'only what follows a cut changes'
    assert not torch.equal(plain.maps['stage3.1.branches.0'], found.maps['stage3.1.branches.0'])
    every = tuple(n for n in parts if n.startswith('stage4.0.fuse_layers.0.'))
    assert not record(net, x, parts, every).maps['stage4.0.fuse_layers.0'].any(), 'a sum of nothing'


def test_the_model_stays_as_it_was(picture):
    model = estimator()
    model.train()
    model.backbone.stage2.eval()
    modes = {n: m.training for n, m in model.named_modules()}
    numbers = {k: v.clone() for k, v in model.state_dict().items()}
    explorer = HRNetExplorer(model, picture, cuts=CUT)
    explorer.update(cuts=())
    explorer.figure()
    assert {n: m.training for n, m in model.named_modules()} == modes
    assert all(torch.equal(v, numbers[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(ValueError):
        record(model, torch.zeros(1, 3, 5, 5), explorer.parts)
    assert not any(m._forward_hooks for m in model.modules()) and model.training


def train(model, steps=12, pause=lambda step: None):
    """Losses of some steps on pictures from torch's random state, as a cell would take them; it pauses in each."""
    torch.manual_seed(7)
    optimizer, told = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=.9), []
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        loss = model(torch.randn(2, 3, 64, 64), mode='tensor')[0].square().mean()
        pause(step)
        loss.backward()
        optimizer.step()
        told.append((loss.item(), model.training, [m.training for m in model.modules()].count(False),
                     sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()),
                     torch.get_num_threads()))
    return told, [v.clone() for v in model.state_dict().values()], torch.random.get_rng_state()


@pytest.mark.slow
def test_a_training_in_another_thread_notices_nothing(picture):
    """Kernels answer widgets while a cell runs: losses, weights, modes and random state are equal to the last bit."""
    model = estimator()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    alone = train(model)
    model.load_state_dict(start)
    threads, found, answers = torch.get_num_threads(), [], 0

    def wait_for_answers(step):
        while answers < 2 * step and visitor.is_alive():
            time.sleep(.001)

    visitor = threading.main_thread()
    cell = threading.Thread(target=lambda: found.append(train(model, pause=wait_for_answers)))
    explorer = HRNetExplorer(model, picture)
    paths = [n for n, p in explorer.parts.items() if p.kind == 'fuse']
    cell.start()
    while cell.is_alive():
        result = ask(explorer, answers, cuts=[paths[answers % len(paths)]], copies=answers // 3)
        assert 'error' not in result, result
        answers += 1
        if answers == 3:
            HRNetExplorer(model, picture)  # another one, while it trains
            HRNetExplorer()
            train_by_the_way = record(model, torch.zeros(1, 3, 64, 64), explorer.parts, (paths[0],))
            assert train_by_the_way.heatmaps is not None
    cell.join()
    assert answers >= 22
    (losses, weights, state), (seen, now, after) = alone, found[0]
    assert seen == losses and all(told[1:4] == (True, 0, 0) for told in seen)
    assert all(torch.equal(a, b) for a, b in zip(weights, now)) and torch.equal(state, after)
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_no_global_state_is_changed(picture, monkeypatch):
    """What is the process's own: threads, random states, default types, hooks on all modules, drawing parameters."""
    import matplotlib

    def refuse(*args, **kwargs):
        raise AssertionError('global state')

    for where, names in ((torch, 'set_num_threads set_num_interop_threads manual_seed set_default_dtype seed set_rng_state'
                                 ' set_grad_enabled set_default_device use_deterministic_algorithms'),
                         (torch.random, 'fork_rng manual_seed set_rng_state'), (np.random, 'seed set_state'),
                         (torch.nn.modules.module, 'register_module_forward_hook register_module_forward_pre_hook')):
        for name in names.split():
            if name != 'set_grad_enabled':  # a context of this thread alone
                monkeypatch.setattr(where, name, refuse)
    settings = dict(matplotlib.rcParams)
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    explorer = HRNetExplorer(estimator_without_numbers(), picture, cuts=CUT)
    ask(explorer, cuts=[], copies=1)
    explorer.update(selected='head')
    explorer.figure()
    from posebook.widgets import LossExplorer
    from posebook.widgets.loss_explorer import trained_flows
    trained_flows.__wrapped__()
    LossExplorer('RLELoss').figure()
    assert dict(matplotlib.rcParams) == settings
    monkeypatch.undo()
    assert torch.equal(torch.random.get_rng_state(), torch_state) and (np.random.get_state()[1] == numpy_state).all()


def estimator_without_numbers():
    """As `estimator`, made where torch draws nothing."""
    with torch.device('meta'):
        head = HeatmapHead(4, 5, None, None, decoder=MSRAHeatmap((64, 64), (16, 16), sigma=2))
    model = TopdownPoseEstimator(small_hrnet(4, (1, 2, 1)), head=head.to_empty(device='cpu'))
    with torch.no_grad():
        for p in model.head.parameters():
            p.fill_(.1)
    return model


def test_the_readers_hooks_are_neither_called_nor_copied(picture):
    class Diary:
        pages = []

        def write(self, module, given, made):
            self.pages.append(made.shape)

        def __deepcopy__(self, memo):
            raise AssertionError('the diary was copied')

    model, diary = estimator(), Diary()
    model.backbone.conv1.register_forward_hook(diary.write)
    explorer = HRNetExplorer(model, picture)
    ask(explorer, cuts=['stage2.0.fuse_layers.0.1'])
    record(model, torch.zeros(1, 3, 64, 64), explorer.parts)
    assert diary.pages == [] and len(model.backbone.conv1._forward_hooks) == 1


@pytest.mark.slow
def test_a_copy_shares_or_clones_and_keeps_no_model_alive(picture):
    model = estimator()
    shared, cloned = own_copy(model, lambda t: t), own_copy(model)
    for (name, p), q, r in zip(model.named_parameters(), shared.parameters(), cloned.parameters()):
        assert q is p and r is not p and torch.equal(r, p), name
    model.last = (model.backbone.conv1.weight * 2).sum()  # deepcopy refuses what has a history
    explorer = HRNetExplorer(model, picture)
    del model
    gc.collect()
    explorer.update(cuts=CUT)
    assert explorer._copy._theirs() is None and explorer.result['texts']['note'].startswith('The weights of the')
    locked = estimator()
    locked.lock = threading.Lock()
    with pytest.raises(ValueError, match='HRNetExplorer: model must be something that copy.deepcopy can copy; got'):
        HRNetExplorer(locked, picture)


def test_it_says_when_the_model_has_learnt_on_and_follows(picture):
    model = estimator()
    explorer = HRNetExplorer(model, picture)
    before = explorer.result['before']['values']
    train(model, 2)
    found = ask(explorer, 1, selected='stem')
    assert found['texts']['note'].startswith('Your model has changed') and found['before']['values'] == before
    assert found['texts']['note'] in found['texts']['spoken'] and 'Your model' in explorer.figure().axes[0].get_title()
    found = ask(explorer, 2, copies=1)
    assert not found['texts']['note'].startswith('Your') and found['before']['values'] != before
    model.head.final_layer = nn.Conv2d(4, 7, 1)
    with pytest.raises(ValueError, match='HRNetExplorer: model must be as it was but for its numbers.*make a new explorer'):
        explorer.update()
    assert model.training, 'since the training'


@pytest.mark.slow
def test_untrained_weights_are_said():
    net = HRNet(extra())
    assert untrained(net) == ['backbone'] and untrained(small_hrnet(4, (1, 1, 1))) == ['backbone']
    model = TopdownPoseEstimator(HRNet(extra()), head=HeatmapHead(4, 5, None, None))
    assert untrained(model) == ['backbone', 'head']
    assert 'backbone and the head look untrained' in HRNetExplorer(model).result['texts']['note']
    train(model, 1)
    assert untrained(model) == [] and HRNetExplorer(model).result['texts']['note'] == ''
    model.head = HeatmapHead(4, 5, None, None)
    assert untrained(model) == ['head']
    frozen = HRNet(extra() | {}, norm_cfg=dict(type='BN'))
    nn.init.normal_(frozen.stage4[0].branches[0][0].bn1.weight, 1, .1)
    assert untrained(frozen) == []


def test_costs_are_counted_without_hooks_on_all_modules(monkeypatch):
    model, x = estimator(), torch.zeros(1, 3, 64, 64)
    macs = layer_macs(model, x)
    assert sum(macs.values()) == count_macs(model, (64, 64)) and macs['head.final_layer'] == 4 * 5 * 16 * 16
    assert model.backbone.conv1.weight.device.type == 'cpu' and not model.backbone.conv1._forward_hooks


def test_the_old_path_leads_to_the_new_homes():
    import sys
    sys.modules.pop('posebook.widgets.hrnet_explorer', None)
    with pytest.warns(DeprecationWarning, match='posebook.widgets.hrnet_explorer has moved to'):
        old = importlib.import_module('posebook.widgets.hrnet_explorer')
    from posebook.widgets.hrnet import drawing, explorer, parts, recording
    for home, names in ((explorer, 'HRNetExplorer HRNetSettings describe amount percent picture_url shape_words'),
                        (parts, 'Part network_parts neighbours part_costs path_words block_words part_words check_model'),
                        (recording, 'Recording record signal_shares relative_change reduce_map as_bytes channel_sheet shrunk'
                                    ' fit_picture sample_picture prepared small_hrnet'),
                        (drawing, 'layout thumbnail draw_diagram draw_explorer HEAT CHANGED CUT UNIT LEFT TOP')):
        for name in names.split():
            assert getattr(old, name) is getattr(home, name), name


def test_heatmaps_and_keypoints_are_the_estimators():
    torch.manual_seed(2)
    model = estimator().eval()
    crop = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    explorer = HRNetExplorer(model, crop, selected='head')
    with torch.no_grad():
        maps = model(model.data_preprocess(dict(inputs=[torch.from_numpy(crop.transpose(2, 0, 1))]))['inputs'])[0]
    assert torch.equal(explorer.recording().heatmaps, maps)
    expected = model.head.decoder.decode(maps.numpy())[0][0]
    points = explorer.result['points']
    assert np.allclose(points['before'], expected) and points['mean'] == 0
    found = ask(explorer, cuts=['stage4.0.fuse_layers.0.0'])
    shift = np.linalg.norm(np.subtract(found['points']['after'], found['points']['before']), axis=1)
    assert found['points']['max'] == pytest.approx(shift.max()) and found['points']['farthest'] == shift.argmax()
    assert found['change']['head'] > 0.05 and found['change']['stage4.0.branches.0'] == 0
    assert found['texts']['heat'].endswith('%') and 'map 0' in explorer.scene['joints']
    ask(explorer, joint=3)
    sent = np.frombuffer(explorer.result['before']['values'], np.uint8).reshape(16, 16)
    low, high = (explorer.result['before'][k] for k in ('low', 'high'))
    assert low + sent * (high - low) / 255 == pytest.approx(maps[3].numpy(), abs=(high - low) / 500)


@pytest.mark.slow
def test_heads_without_heatmaps_and_estimators_without_heads(picture):
    class Rows(nn.Module):
        decoder = None

        def forward(self, feats):
            return feats[-1].mean(2), feats[-1].mean(3)

    rows = TopdownPoseEstimator(HRNet(extra()), head=Rows())
    explorer = HRNetExplorer(rows, picture, selected='head')
    assert explorer.result['map'] is None and explorer.scene['joints'] == [] and explorer.figure()
    bare = HRNetExplorer(TopdownPoseEstimator(HRNet(extra(multiscale_output=True))), picture)
    assert 'head' not in bare.parts and len(bare.scene['ends']) == 4
    stem = next(p for p in bare.scene['parts'] if p['name'] == 'stem')
    assert stem['texts']['prefix'].startswith('backbone.conv1, backbone.bn1')


def test_selected_parts_are_told(picture):
    explorer = HRNetExplorer(small_hrnet(4, (1, 1, 1)), picture)
    told = {p['name']: p for p in explorer.scene['parts']}
    path = told['stage4.0.fuse_layers.0.3']
    assert path['title'] == 'Path 3 to 0' and path['words'].endswith('1x1 conv 32 to 4 + upsample x8 (nearest)')
    assert path['texts']['given'] == '32 x 2 x 3' and path['texts']['made'] == '4 x 16 x 24'
    assert path['sum'] == 'stage4.0.fuse_layers.0' and path['texts']['prefix'] == path['name']
    assert told['transition3.3']['words'].startswith('makes the new branch 3: 3x3 conv 16 to 32, stride 2')
    assert told['stage3.0.branches.1']['sum'] == 'stage3.0.fuse_layers.1'
    assert told['stage4.0.branches.2']['sum'] == 'stage4.0.fuse_layers.0', 'the only one that it feeds'
    for part in (p for p in told.values() if p['kind'] != 'wire'):
        result = ask(explorer, selected=part['name'])
        assert 'error' not in result and result['map']['shape'] == [
            int(n) for n in part['texts']['made'].split(' x ')[1:]], part['name']
        assert result['texts']['spoken'].startswith(part['title'])


@pytest.mark.parametrize('reduce, expected', [
    ('mean', lambda m: np.abs(m).mean(0)), ('max', lambda m: np.abs(m).max(0)), ('channel', lambda m: m[2])])
def test_pictures_are_the_maps(picture, reduce, expected):
    explorer = HRNetExplorer(small_hrnet(4, (1, 1, 1)), picture, selected='stage3.0.fuse_layers.0.2', reduce=reduce,
                             channel=2)
    maps = explorer.recording().maps['stage3.0.fuse_layers.0.2'].numpy()
    sent = explorer.result['map']
    values = np.frombuffer(sent['values'], np.uint8).reshape(sent['shape'])
    step = (sent['high'] - sent['low']) / 255
    assert sent['low'] + values * step == pytest.approx(expected(maps), abs=step)
    assert ask(explorer, reduce='channel', channel=5000)['map']['shape'] == [16, 24]


def test_channels_lie_in_a_square_sheet():
    maps = np.random.default_rng(0).normal(size=(70, 10, 6)).astype(np.float32)
    maps[[3, 5]] = 0
    sheet = channel_sheet(maps)
    assert len(sheet['numbers']) == 64 and sheet['columns'] == 8 and sheet['of'] == 70
    assert not {3, 5} & set(sheet['numbers']) and sheet['shape'] == [88, 56]
    values = np.frombuffer(sheet['values'], np.uint8).reshape(sheet['shape'])
    k = sheet['numbers'].index(20)
    y, x = 11 * (k // 8), 7 * (k % 8)
    step = (sheet['high'] - sheet['low']) / 255
    assert sheet['low'] + values[y:y + 10, x:x + 6] * step == pytest.approx(maps[20], abs=step)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        broken = as_bytes(np.float32([[np.nan, np.inf, 1, 0]]))
    assert list(broken['values']) == [0, 0, 255, 0]


def test_bars_are_shares_and_changes(picture):
    explorer = HRNetExplorer(small_hrnet(4, (1, 1, 1)), picture)
    for shade in ('macs', 'params'):
        heat, totals = ask(explorer, shade=shade)['heat'], explorer.scene['totals']
        costs = {p['name']: p.get(shade, 0) for p in explorer.scene['parts']}
        top = max(costs, key=costs.get)
        assert heat[top][0] == 1 and heat[top][1] == f'{costs[top] / totals[shade]:.0%}'
        assert heat['layer1'][0] == pytest.approx(costs['layer1'] / costs[top])
    assert ask(explorer, shade='change')['heat'] == {}
    heat = ask(explorer, shade='change', cuts=['stage3.0.fuse_layers.0.1'])['heat']
    assert 'stage3.0.branches.0' not in heat and heat['stage3.0.fuse_layers.0'][0] > 0
    shares = explorer.result['signal']
    assert sum(v for n, v in shares.items() if n.startswith('stage3.0.fuse_layers.1.')) == pytest.approx(1)


def test_new_weights_are_seen_by_update(picture):
    net = small_hrnet(4, (1, 1, 1))
    explorer = HRNetExplorer(net, picture, selected='stem')
    before = explorer.result['map']
    with torch.no_grad():
        net.conv2.weight.mul_(-1)
    assert ask(explorer)['map'] == before, 'a run is remembered'
    explorer.update()
    assert explorer.result['map'] != before and explorer.state['version'] == 1


def test_runs_are_few(picture):
    explorer = HRNetExplorer(small_hrnet(4, (1, 1, 1)), picture)
    for path in [n for n, p in explorer.parts.items() if p.kind == 'fuse']:
        ask(explorer, cuts=[path])
    assert len(explorer._runs) <= 4 and () in explorer._runs


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(64, 96), (33, 400)])
def test_any_picture_will_do(shape):
    image = np.zeros((*shape, 3), np.uint8)
    explorer = HRNetExplorer(HRNet(extra()), image)
    h, w = explorer._image.shape[:2]
    assert (h, w) == (shape if h % 32 == w % 32 == 0 and shape == (h, w) else (256, 192))
    assert HRNetExplorer(estimator(), image)._image.shape == (64, 64, 3)


@pytest.mark.parametrize('changes, words', [
    (dict(model=nn.Conv2d(3, 4, 1)), 'model must be an HRNet.*got Conv2d'),
    (dict(model='hrnet'), 'got str'),
    (dict(model=HRNet(extra(), in_channels=1)), 'in_channels=1'),
    (dict(image=np.zeros((64, 64))), 'image must be'),
    (dict(selected='stage5'), "selected must be a part, input, stem.*got 'stage5'"),
    (dict(selected='input to stem'), 'selected must be a part'),
    (dict(cuts=['layer1']), "cuts must be fuse paths.*got 'layer1'"),
    (dict(cuts='stage2.0.fuse_layers.0.1'), 'names of fuse paths'),
    (dict(cuts=[1]), 'names of fuse paths'),
    (dict(joint=0.5), 'joint must be the number of a keypoint'),
    (dict(joint=5), 'no heatmaps'),
    (dict(channel=-1), 'channel must be'),
    (dict(reduce='median'), 'reduce must be one of'),
    (dict(shade='flops'), 'shade must be one of'),
    (dict(view='both'), 'view must be one of'),
    (dict(opacity=1.5), 'opacity must be between 0 and 1')])
def test_wrong_arguments_are_named(picture, changes, words):
    with pytest.raises(ValueError, match=words):
        HRNetExplorer(**dict(model=HRNet(extra()), image=picture) | changes)


def test_requests_are_adopted_and_bad_ones_are_not(picture):
    explorer = HRNetExplorer(HRNet(extra()), picture)
    assert ask(explorer, 4, selected='stem', cuts=list(CUT))['id'] == 4 and explorer.settings.cuts == CUT
    for wrong in (dict(selected='stage9'), dict(cuts=['stem']), dict(opacity=-1), dict(colour='red')):
        assert 'error' in ask(explorer, 5, **wrong), wrong
    assert explorer.settings.selected == 'stem' and 'error' not in ask(explorer, 6)
    settings = HRNetSettings('stem', CUT[::-1], joint=2)
    assert HRNetSettings(**settings.to_dict()).to_dict() == settings.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['odd', 'w18'])
def test_stand_in_and_text(picture, name):
    explorer = HRNetExplorer(HRNet(EXTRAS[name][0]), picture)
    data, _ = explorer._repr_mimebundle_()
    drawn = Image.open(io.BytesIO(data['image/png']))
    assert drawn.format == 'PNG' and drawn.width > 800
    assert data['text/plain'] == repr(explorer) and '0x' not in repr(explorer)
    assert f'{count_parameters(explorer._model):,} parameters' in repr(explorer)


def test_the_default_shows_a_person_and_draws_nothing_from_global_randomness():
    state = torch.random.get_rng_state()
    one, other = HRNetExplorer(), HRNetExplorer()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.result['map'] == other.result['map'] and one._image.shape == (256, 192, 3)
    assert one._image.std() > 20 and not one._model.training


def test_a_decoder_says_the_size_of_the_crop():
    codec = SimCCLabel((96, 64), sigma=2)
    head = HeatmapHead(4, 5, None, None)
    head.decoder = codec
    model = TopdownPoseEstimator(HRNet(extra()), head=head)
    with pytest.raises(Exception):  # a codec that does not fit its head is the head's to complain of
        HRNetExplorer(model)


def test_static_files_are_small_and_plain():
    script = HRNetExplorer._esm
    assert len(script.encode()) < SCRIPT_LIMIT
    assert 'http' not in script + HRNetExplorer._css and 'import ' not in script
    assert script.count('export ') == script.count('export default ') == 1
