"""HRNet, its parts, its versions and the counting of parameters and multiply-adds."""
import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from posebook.models import (HeatmapHead, HRNet, TopdownPoseEstimator, count_macs,
                             count_parameters, from_official_state_dict, hrnet_extra,
                             to_official_state_dict)
from posebook.models.backbones import (HRFPN, BasicBlock, Bottleneck, HRModule, HRNetClassifier,
                                       stack_blocks)
from posebook.models.backbones.hr_module import make_transition, resample
from posebook.models.backbones.hrnet_versions import upsample_concat
from posebook.models.complexity import complexity
from posebook.registry import MODELS

torch.set_num_threads(1)


def tiny_extra(width=4, **kwargs):
    small = dict(num_modules=(1, 1, 1), num_blocks=1, stem_width=8)
    return hrnet_extra(width, **{**small, **kwargs})


def tiny_hrnet(**kwargs):
    return HRNet(tiny_extra(), **kwargs)


def multiscale(extra):
    return {**extra, 'stage4': {**extra['stage4'], 'multiscale_output': True}}


def pose_net(backbone, **head):
    return TopdownPoseEstimator(backbone, head=dict(type='HeatmapHead', out_channels=17, **head))


# ------------------------------------------------------------------ the published numbers
# parameters, state_dict entries, GMAC at 256x192 and 384x288, published "GFLOPs" of both
PUBLISHED = {
    'W32': (28_536_113, 1754, 7.645, 17.201, 7.1, 16.0),
    'W48': (63_595_745, 1754, 15.692, 35.307, 14.6, 32.9),
    'R50': (33_999_697, 338, 5.426, 12.209, 8.9, 20.0),
    'R101': (52_991_825, 644, 9.063, 20.391, 12.4, 27.9),
    'R152': (68_635_473, 950, 12.699, 28.573, 15.7, 35.3),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', PUBLISHED)
def test_the_published_sizes(name):
    parameters, entries, *gmac = PUBLISHED[name]
    number = int(name[1:])
    with torch.device('meta'):
        if name[0] == 'W':
            model = pose_net(HRNet(hrnet_extra(number)), in_channels=number,
                             deconv_out_channels=None)
        else:
            model = pose_net(dict(type='ResNet', depth=number), in_channels=2048)
    assert count_parameters(model) == parameters and len(model.state_dict()) == entries
    for size, exact, paper in zip([(192, 256), (288, 384)], gmac[:2], gmac[2:]):
        assert round(count_macs(model, size) / 1e9, 3) == exact
        at_output = exact * 1e9 if name[0] == 'W' else count_macs(model, size, True)
        assert at_output / 2**30 == pytest.approx(paper, rel=.013)  # papers round, and cut off


# ------------------------------------------------------------------------- checkpoints
def official_names(width=32):
    """The entries of the official release, written out from the architecture (Sun et al. 2019)."""
    shapes = {}

    def conv(name, out, into, k, bn):
        shapes[f'{name}.weight'] = (out, into, k, k)
        for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
            shapes[f'{bn}.{leaf}'] = (out, )
        shapes[f'{bn}.num_batches_tracked'] = ()

    conv('conv1', 64, 3, 3, 'bn1')
    conv('conv2', 64, 64, 3, 'bn2')
    for b in range(4):
        p = f'layer1.{b}'
        conv(f'{p}.conv1', 64, 256 if b else 64, 1, f'{p}.bn1')
        conv(f'{p}.conv2', 64, 64, 3, f'{p}.bn2')
        conv(f'{p}.conv3', 256, 64, 1, f'{p}.bn3')
    conv('layer1.0.downsample.0', 256, 64, 1, 'layer1.0.downsample.1')
    c = [width * 2**i for i in range(4)]
    conv('transition1.0.0', c[0], 256, 3, 'transition1.0.1')
    conv('transition1.1.0.0', c[1], 256, 3, 'transition1.1.0.1')
    conv('transition2.2.0.0', c[2], c[1], 3, 'transition2.2.0.1')
    conv('transition3.3.0.0', c[3], c[2], 3, 'transition3.3.0.1')
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        for m in range(modules):
            p = f'stage{stage}.{m}'
            for b in range(stage):
                for k in range(4):
                    for n in (1, 2):
                        q = f'{p}.branches.{b}.{k}'
                        conv(f'{q}.conv{n}', c[b], c[b], 3, f'{q}.bn{n}')
            for i in range(1 if (stage, m) == (4, 2) else stage):
                for j in range(stage):
                    q = f'{p}.fuse_layers.{i}.{j}'
                    if j > i:
                        conv(f'{q}.0', c[i], c[j], 1, f'{q}.1')
                    for k in range(i - j):
                        conv(f'{q}.{k}.0', c[i] if k == i - j - 1 else c[j], c[j], 3, f'{q}.{k}.1')
    shapes['final_layer.weight'], shapes['final_layer.bias'] = (17, width, 1, 1), (17, )
    return shapes


def test_official_layout_loads_strictly_both_ways(tmp_path):
    names = official_names()
    assert len(names) == 1754
    model = TopdownPoseEstimator(HRNet(hrnet_extra(32)),
                                 head=HeatmapHead(32, 17, deconv_out_channels=None))
    generator = torch.Generator().manual_seed(0)
    released = {k: torch.rand(s, generator=generator) if s else torch.tensor(7)
                for k, s in names.items()}
    torch.save(released, tmp_path / 'official.pth')
    loaded = torch.load(tmp_path / 'official.pth', weights_only=True)
    model.load_state_dict(from_official_state_dict(loaded), strict=True)
    ours = to_official_state_dict(model.state_dict())
    assert ours.keys() == names.keys()
    assert all(torch.equal(ours[k], v) for k, v in released.items())


def test_a_deconvolution_head_has_no_official_name():
    with pytest.raises(KeyError, match='deconv_layers'):
        to_official_state_dict({'head.deconv_layers.0.weight': torch.zeros(1)})


# ------------------------------------------------------------------------------- HRNet
@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(h=st.integers(1, 200), w=st.integers(1, 200))
def test_hrnet_accepts_multiples_of_32_and_names_neighbours_of_the_rest(h, w):
    with torch.device('meta'):
        net, x = tiny_hrnet(), torch.zeros(1, 3, h, w)
    after_stem = [-(-side // 4) for side in (h, w)]  # two strided convolutions round up
    if all(side % 8 == 0 for side in after_stem):
        assert net(x)[0].shape == (1, 4, *after_stem)
        return
    with pytest.raises(ValueError) as e:
        net(x)
    advice = str(e.value).partition('Change')[2]
    assert ('height' in advice) == (h % 32 != 0) and ('width' in advice) == (w % 32 != 0)
    for side in (h, w):
        if side % 32:
            assert f'{(side // 32 + 1) * 32}' in advice
            assert side < 32 or f'{side // 32 * 32}' in advice


@pytest.mark.parametrize('n, divisor', [(2, 8), (3, 16), (4, 32)])
def test_the_divisor_follows_from_the_branches(n, divisor):
    extra = tiny_extra()
    for stage in ('stage2', 'stage3', 'stage4'):
        count = min(n, extra[stage]['num_branches'])
        for key in ('num_blocks', 'num_channels'):
            extra[stage][key] = extra[stage][key][:count]
        extra[stage]['num_branches'] = count
    net = HRNet(extra)
    assert net.size_divisor == divisor
    assert net(torch.zeros(2, 3, divisor * 2, divisor * 3))[0].shape[-2:] == (divisor // 2,
                                                                            divisor * 3 // 4)
    with pytest.raises(ValueError, match=f'multiples of {divisor}'):
        net(torch.zeros(1, 3, divisor * 2, divisor + 4))


@pytest.mark.parametrize('options', [dict(), dict(with_cp=True), dict(zero_init_residual=True),
                                     dict(norm_cfg=dict(type='SyncBN')), dict(in_channels=1),
                                     dict(norm_cfg=dict(type='GN', num_groups=2))])
def test_gradients_reach_every_parameter(options):
    torch.manual_seed(0)
    net = tiny_hrnet(**options)
    net(torch.randn(2, options.get('in_channels', 3), 64, 32))[0].square().sum().backward()
    without = [n for n, p in net.named_parameters() if p.grad is None]
    assert not without
    if not options.get('zero_init_residual'):  # a zero scale stops the gradient behind it
        still = [n for n, p in net.named_parameters() if p.grad.abs().max() == 0]
        assert not still


def test_forward_leaves_its_input_alone():
    x = torch.randn(2, 3, 32, 64)
    before = x.clone()
    tiny_hrnet()(x)
    assert torch.equal(x, before)


def test_with_cp_changes_nothing():
    torch.manual_seed(0)
    plain, saving = tiny_hrnet(), tiny_hrnet(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 32)
    assert torch.allclose(plain.eval()(x)[0], saving.eval()(x)[0])


@pytest.mark.parametrize('frozen', range(-1, 5))
def test_frozen_stages(frozen):
    net = tiny_hrnet(frozen_stages=frozen)
    order = [('conv1', 'bn1', 'conv2', 'bn2'), ('layer1', 'transition1'),
             ('stage2', 'transition2'), ('stage3', 'transition3'), ('stage4', )]
    expected = {n for group in order[:frozen + 1] for n in group}
    assert net.eval() is net and net.train() is net
    for name, child in net.named_children():
        parameters = list(child.parameters())
        if parameters:
            assert all(p.requires_grad != (name in expected) for p in parameters), name
            norms = [m for m in child.modules() if isinstance(m, nn.BatchNorm2d)]
            assert all(m.training != (name in expected) for m in norms), name


def test_norm_eval_keeps_statistics_but_learns_scales():
    net = tiny_hrnet(norm_eval=True).train()
    before = copy.deepcopy(dict(net.named_buffers()))
    net(torch.randn(2, 3, 32, 32))[0].sum().backward()
    assert all(torch.equal(before[k], v) for k, v in net.named_buffers())
    assert net.bn1.weight.grad is not None


@pytest.mark.parametrize('change, error, text', [
    (dict(frozen_stages=5), ValueError, 'frozen_stages'),
    (dict(conv_cfg=dict(type='DCNv2')), ValueError, 'DCNv2'),
    (dict(norm_cfg=dict(type='Norm')), ValueError, 'Norm'),
    (dict(in_channels='3'), ValueError, 'in_channels'),
    (dict(extra=32), TypeError, 'extra must be a dict'),
    (dict(extra=dict(tiny_extra(), stage2=4)), TypeError, "extra\\['stage2'\\] must be a dict"),
    (dict(extra=dict(tiny_extra(), upsample=dict(mode='linear'))), ValueError, 'upsample'),
    (dict(extra=dict(tiny_extra(), stage3=dict(tiny_extra()['stage3'], num_blocks=(1, 0, 1)))), ValueError, 'num_blocks'),
    (dict(extra=dict(stage1={})), KeyError, 'num_modules'),
])
def test_hrnet_refuses(change, error, text):
    with pytest.raises(error, match=text):
        HRNet(**{'extra': hrnet_extra(4), **change})


def test_hrnet_from_the_registry_with_a_scope():
    net = MODELS.build(dict(type='mmpose.HRNet', extra=hrnet_extra(4, (1, 1, 1), 1),
                            init_cfg=dict(type='Pretrained', checkpoint='https://x.org/a.pth')))
    assert isinstance(net, HRNet) and 0 < net.conv1.weight.std() < 0.002


def test_group_norms_have_their_own_names():
    names = tiny_hrnet(norm_cfg=dict(type='GN', num_groups=2)).state_dict()
    assert {'gn1.weight', 'gn2.bias', 'layer1.0.gn3.weight', 'stage2.0.branches.1.0.gn1.bias',
            'stage2.0.fuse_layers.0.1.1.weight'} <= names.keys()
    assert not [n for n in names if 'bn' in n or 'running' in n]


@pytest.mark.parametrize('cfg', [dict(mode='bilinear', align_corners=False),
                                 dict(mode='bilinear', align_corners=True),
                                 dict(mode='nearest', align_corners=None)])
def test_the_upsample_config_reaches_every_path(cfg):
    extra = dict(tiny_extra(), upsample=cfg)
    ups = [m for m in HRNet(extra).modules() if isinstance(m, nn.Upsample)]
    assert len(ups) == 1 + 3 + 3  # stage 2, stage 3, and the one row of the last stage
    assert all((m.mode, m.align_corners) == (cfg['mode'], cfg['align_corners']) for m in ups)
    assert HRNet(extra)(torch.zeros(2, 3, 32, 64))[0].shape == (2, 4, 8, 16)


def test_bottlenecks_in_the_branches():
    extra = tiny_extra(8)
    extra['stage4'] = dict(extra['stage4'], block='BOTTLENECK', multiscale_output=True)
    out = HRNet(extra)(torch.zeros(2, 3, 32, 64))
    assert [m.shape[1] for m in out] == [32, 64, 128, 256]  # four times the numbers of the config


def test_only_the_last_module_makes_one_branch():
    stage = HRNet(tiny_extra(num_modules=(1, 1, 3))).stage4
    assert [len(m.fuse_layers) for m in stage] == [4, 4, 1]
    assert [len(m.fuse_layers) for m in HRNet(multiscale(tiny_extra())).stage4] == [4]


def test_extra_is_left_alone_and_lists_do():
    extra = tiny_extra()
    for stage in extra.values():
        stage.update(num_blocks=list(stage['num_blocks']), num_channels=list(stage['num_channels']))
    before = copy.deepcopy(extra)
    HRNet(extra)
    HRNetClassifier(extra, 3)
    assert extra == before


@pytest.mark.parametrize('shape', [(3, 32, 32), (1, 4, 32, 32), (1, 3, 0, 32), (1, 3, 33, 32)])
def test_shapes_that_hrnet_refuses(shape):
    with pytest.raises(ValueError, match='HRNet: '):
        tiny_hrnet()(torch.zeros(shape))


def test_an_empty_batch_passes():
    assert tiny_hrnet().eval()(torch.zeros(0, 3, 32, 64))[0].shape == (0, 4, 8, 16)


def test_the_output_is_that_of_the_network_written_out_plainly(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / 'benchmarks'))
    from plain_hrnet import PlainHRNet, set_used_norms
    torch.manual_seed(0)
    model = set_used_norms(pose_net(HRNet(hrnet_extra(4), init_cfg=dict(type='Kaiming', layer='Conv2d')),
                                    in_channels=4, deconv_out_channels=None))
    nn.init.normal_(model.head.final_layer.weight)
    plain = PlainHRNet(4).eval().requires_grad_(False)
    plain.load_state_dict(to_official_state_dict(model.state_dict()), strict=True)
    x = torch.randn(1, 3, 64, 32)
    want = plain(x)
    assert want.std() > .01 and torch.allclose(model(x), want, atol=1e-5)


def test_with_cp_computes_every_block_twice():
    net, runs = tiny_hrnet(with_cp=True), {}
    blocks = {n: m for n, m in net.named_modules() if isinstance(m, (BasicBlock, Bottleneck))}
    for name, block in blocks.items():
        block.conv1.register_forward_hook(lambda *_, n=name: runs.update({n: runs.get(n, 0) + 1}))
    net(torch.randn(2, 3, 32, 64))[0].sum().backward()
    assert runs == dict.fromkeys(blocks, 2)


# ------------------------------------------------------------------------------ the parts
@pytest.mark.parametrize('octaves, steps', [
    (0, []), (2, ['Conv2d', 'BatchNorm2d', 'Upsample']), (-1, ['Conv2d', 'BatchNorm2d']),
    (-3, ['Conv2d', 'BatchNorm2d', 'ReLU'] * 2 + ['Conv2d', 'BatchNorm2d'])])
def test_a_path_ends_without_a_relu(octaves, steps):
    layers = [m for m in resample(4, 8, octaves).modules() if not list(m.children())]
    assert [type(m).__name__ for m in layers] == (steps or ['Identity'])
    assert all(m.mode == 'nearest' for m in layers if isinstance(m, nn.Upsample))


def test_a_branch_that_changes_its_width_gets_a_convolution_with_a_relu():
    kept, changed = make_transition([4, 8], [4, 6])
    assert isinstance(kept, nn.Identity) and [type(m).__name__ for m in changed] == ['Conv2d', 'BatchNorm2d', 'ReLU']
    assert changed[0].kernel_size == (3, 3) and changed[0].stride == (1, 1)


@pytest.mark.parametrize('block', [BasicBlock, Bottleneck])
@pytest.mark.parametrize('stride, dilation', [(1, 1), (2, 1), (1, 2)])
def test_blocks_equal_their_definition(block, stride, dilation):
    torch.manual_seed(0)
    made = block(8, 16, stride, dilation=dilation).eval()
    for m in made.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight)
    spatial = made.conv1 if block is BasicBlock else made.conv2
    assert (spatial.stride, spatial.dilation) == ((stride, ) * 2, (dilation, ) * 2)
    x = torch.randn(2, 8, 12, 10)
    with torch.no_grad():
        want = x
        convs = 2 if block is BasicBlock else 3
        for i in range(1, convs + 1):
            want = made.norm(i)(getattr(made, f'conv{i}')(want))
            want = want.relu() if i < convs else want
        want = (want + made.downsample(x)).relu()
        assert torch.equal(made(x), want) and want.shape == (2, 16, 12 // stride, 10 // stride)


def test_order_of_entries_is_that_of_the_releases():
    names = [k for k in Bottleneck(4, 8).state_dict() if k.endswith('weight')]
    assert names == ['conv1.weight', 'bn1.weight', 'conv2.weight', 'bn2.weight', 'conv3.weight',
                     'bn3.weight', 'downsample.0.weight', 'downsample.1.weight']


def test_a_given_skip_is_used_in_the_first_block_only():
    skip = nn.Conv2d(4, 8, 1, bias=False)
    stack = stack_blocks(BasicBlock, 2, 4, 8, downsample=skip)
    assert stack[0].downsample is skip and stack[1].downsample is None


@settings(max_examples=20, deadline=None)
@given(j=st.integers(0, 3), i=st.integers(0, 3))
def test_every_path_fits_the_branch_it_leads_to(i, j):
    path = resample(2 * 2**j, 2 * 2**i, j - i).eval()
    assert path(torch.zeros(1, 2 * 2**j, 32 >> j, 24 >> j)).shape == (1, 2 * 2**i, 32 >> i, 24 >> i)
    convs = [m for m in path.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == (1 if j > i else i - j)


def test_the_module_sums_its_rows_and_does_not_write_into_its_input():
    torch.manual_seed(0)
    module = HRModule([2, 4, 8], BasicBlock, [1, 2, 1]).eval()
    maps = [torch.randn(2, 2 << b, 16 >> b, 8 >> b) for b in range(3)]
    before = [m.clone() for m in maps]
    out = module(maps)
    assert all(torch.equal(a, b) for a, b in zip(maps, before))
    branched = [branch(m) for branch, m in zip(module.branches, maps)]
    for i, row in enumerate(module.fuse_layers):
        want = sum(path(m) for path, m in zip(row, branched)).relu()
        assert torch.allclose(out[i], want, atol=1e-6)


def test_new_branches_start_from_the_coarsest():
    net, seen = tiny_hrnet().eval(), {}
    net.transition2[2].register_forward_hook(lambda m, args, out: seen.update(source=args[0]))
    net.stage2.register_forward_hook(lambda m, args, out: seen.update(coarsest=out[-1]))
    net(torch.randn(1, 3, 64, 32))
    assert seen['source'] is seen['coarsest']
    assert [len(p) for p in make_transition([4], [4, 8, 16])[1:]] == [1, 2]


# --------------------------------------------------------------------------- the versions
def test_pyramid_names_shapes_and_checkpointing():
    neck = HRFPN([4, 8, 16, 32], 6, num_outs=5, pooling_type='MAX', with_cp=True)
    torch.manual_seed(0)
    maps = tuple(torch.randn(1, 4 << b, 32 >> b, 16 >> b, requires_grad=True) for b in range(4))
    out = neck(maps)
    assert [tuple(m.shape[1:]) for m in out] == [(6, 32 >> i, 16 >> i) for i in range(5)]
    pooled = nn.functional.max_pool2d(neck.reduction_conv(upsample_concat(maps)), 2)
    assert torch.allclose(out[1], neck.fpn_convs[1](pooled), atol=1e-6)
    assert neck.state_dict()['reduction_conv.conv.weight'].shape == (6, 60, 1, 1)
    assert neck.state_dict()['fpn_convs.4.conv.bias'].shape == (6, )
    sum(m.sum() for m in out).backward()
    assert all(m.grad.abs().sum() > 0 for m in maps)
    assert isinstance(MODELS.build(dict(type='HRFPN', in_channels=[4, 8], out_channels=4)), HRFPN)


@pytest.mark.slow
@pytest.mark.parametrize('width, millions, gflops', [
    (18, 21.3, 3.99), (32, 41.2, 8.31), (64, 128.1, 26.9)])
def test_classifiers_have_the_published_size(width, millions, gflops):
    with torch.device('meta'):
        net = HRNetClassifier(hrnet_extra(width))
    assert count_parameters(net) / 1e6 == pytest.approx(millions, abs=.06)
    assert count_macs(net, (224, 224)) / 2**30 == pytest.approx(gflops, abs=.06)
    assert len(net.state_dict()) == 1956


@pytest.mark.parametrize('extra, error, text', [(None, TypeError, 'extra must be a dict'), ({}, KeyError, "the key 'stage1'")])
def test_classifier_says_what_is_wrong_with_extra(extra, error, text):
    with pytest.raises(error, match=text):
        HRNetClassifier(extra)


def test_classifier_walks_down_the_branches():
    torch.manual_seed(0)
    net = HRNetClassifier(tiny_extra(), num_classes=5).eval()
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
    x = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        maps = HRNet.forward(net, x)
        y = net.incre_modules[0](maps[0])
        for i in range(3):
            y = net.incre_modules[i + 1](maps[i + 1]) + net.downsamp_modules[i](y)
        want = net.classifier(net.final_layer(y).mean((2, 3)))
        assert torch.allclose(net(x), want, atol=1e-5) and want.shape == (2, 5)
        assert net.features(x).shape == (2, 2048, 2, 1)


def test_trunk_weights_move_between_versions():
    classifier, pose = HRNetClassifier(tiny_extra(), 3), tiny_hrnet()
    report = pose.load_state_dict(classifier.state_dict(), strict=False)
    heads = ('incre_modules', 'downsamp_modules', 'final_layer', 'classifier',
             'stage4.0.fuse_layers')
    assert not report.missing_keys
    assert all(k.startswith(heads) for k in report.unexpected_keys)


# --------------------------------------------------------------------------- the counting
def loop_macs(model, x):
    """Products, counted module by module with hooks on the real thing."""
    total = []

    def hook(m, args, out):
        pixels = (args[0] if isinstance(m, nn.ConvTranspose2d) else out)[:, 0].numel()
        total.append(m.weight.numel() * (pixels if m.weight.ndim == 4 else out[..., 0].numel()))

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        model(x)
    for h in handles:
        h.remove()
    return sum(total)


@pytest.mark.parametrize('model, shape', [
    (lambda: tiny_hrnet(), (2, 3, 32, 64)),
    (lambda: HRNetClassifier(tiny_extra(), 3), (1, 3, 64, 64)),
    (lambda: nn.ConvTranspose2d(6, 4, 4, 2, 1, groups=2), (3, 6, 5, 7)),
    (lambda: nn.Conv2d(6, 4, 3, 2, groups=2), (1, 6, 9, 8)), (lambda: nn.Linear(5, 3), (2, 7, 5))])
def test_macs_equal_a_loop(model, shape):
    model = model().eval()
    assert count_macs(model, torch.zeros(shape)) == loop_macs(model, torch.zeros(shape))


def test_counting_leaves_the_model_alone():
    model = tiny_hrnet(frozen_stages=1).train()
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    count_macs(model, (32, 64))
    table = complexity(model, (32, 64), depth=3)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert sum(b.macs for b in table.blocks) == table.macs
    with pytest.raises(ValueError):
        complexity(model, (33, 64))
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks for m in model.modules())


def test_the_table_accounts_for_what_no_block_holds():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.token = nn.Conv2d(3, 4, 1), nn.Parameter(torch.zeros(7))

        def forward(self, x):
            return self.conv(x) @ torch.zeros(5, 2)

    table = complexity(Net(), torch.zeros(1, 3, 6, 5))
    assert [(b.name, b.parameters, b.macs) for b in table.blocks] == [
        ('conv', 16, 12 * 30), ('(rest)', 7, 4 * 6 * 5 * 2)]
    assert table.parameters == 23 and '(rest)' in repr(table) and '<td' in table._repr_html_()
    assert table.gflops_of_papers == table.macs / 2**30


def test_a_head_is_counted_on_its_features():
    head = HeatmapHead(8, 5, (4, ), (4, ))
    features = (torch.zeros(1, 8, 6, 4), )
    assert count_macs(head, features) == 24 * 8 * 4 * 16 + 96 * 4 * 5
    assert count_macs(head, features, deconv_at_output=True) == 4 * 24 * 8 * 4 * 16 + 96 * 4 * 5
