"""What all backbones promise, tried on a small one of each kind. A new backbone adds a row to BACKBONES."""
import copy
import functools
import inspect

import pytest
import torch
from families import members
from torch import nn

import posebook.models  # noqa: F401  (fills the registry)
from posebook.models.backbones import (InvertedResidual, MobileNetV2, ResNet,
                                       ShuffleNetV2, ShuffleUnit, hrnet_extra, rename_state_dict)
from posebook.models.backbones.compact import SE_ACTS
from posebook.models.backbones.hrformer import LocalWindowSelfAttention
from posebook.models.backbones.resnet_relatives import SCBottleneck, SCConv, SplitAttention
from posebook.models.complexity import count_parameters
from posebook.models.heads import HeatmapHead
from posebook.registry import MODELS

torch.set_num_threads(1)

SLIM = dict(depth=50, stem_channels=8, base_channels=8)
REGNET = dict(w0=8, wa=8, wm=2, depth=5, group_w=8, bot_mul=1.)
SEARCHED = dict(wid=(8, 16, 16, 32, 32), dep=(None, 1, 1, 1, 1), ks=(3, 3, 5, 3, 3), group=(None, 2, 4, 4, 8))
MOBILE = dict(wid=(8, 8, 16), expan=(None, 1, 2), dep=(None, 1, 2), ks=(3, 3, 5), group=(None, 8, 16),
              att=(None, False, True), stride=(2, 1, 2), act=('HSwish', 'ReLU', 'ReLU'))
LITE = dict(stem=dict(stem_channels=8, out_channels=8, expand_ratio=1), num_stages=2, with_head=True,
            stages_spec=dict(num_modules=(1, 1), num_branches=(2, 3), num_blocks=(1, 1), module_type=('LITE', 'NAIVE'),
                             with_fuse=(True, True), reduce_ratios=(4, 4), num_channels=((8, 16), (8, 16, 32))))


def hrformer_extra():
    """HRNet's smallest, with blocks of windows and attention."""
    extra = hrnet_extra(8, (1, 1, 1), num_blocks=1, stem_width=16)
    for i, stage in enumerate((extra['stage2'], extra['stage3'], extra['stage4']), 2):
        stage.update(block='HRFORMERBLOCK', window_sizes=(7, ) * i, num_heads=(1, 2, 4, 8)[:i], mlp_ratios=(2, ) * i)
    return extra


BACKBONES = {  # name: (arguments, shape of the input, shapes of the maps without the batch axis)
    'ResNet': (dict(SLIM, depth=18, out_indices=(1, 3)), (64, 48), [(16, 8, 6), (64, 2, 2)]),
    'ResNetV1d': (dict(SLIM, out_indices=(0, 3)), (64, 48), [(32, 16, 12), (256, 2, 2)]),
    'ResNeXt': (dict(SLIM, groups=4, width_per_group=4, out_indices=(2, 3)), (64, 48), [(128, 4, 3), (256, 2, 2)]),
    'SEResNet': (dict(SLIM, se_ratio=4, out_indices=(1, 3)), (64, 48), [(64, 8, 6), (256, 2, 2)]),
    'SEResNeXt': (dict(SLIM, groups=4), (64, 48), [(256, 2, 2)]),
    'RegNet': (dict(arch=REGNET, stem_channels=8, strides=(2, 2, 2), dilations=(1, 1, 1), out_indices=(0, 2)), (64, 48),
               [(8, 16, 12), (32, 4, 3)]),
    'ResNeSt': (dict(SLIM, out_indices=(0, 3)), (64, 48), [(32, 16, 12), (256, 2, 2)]),
    'SCNet': (dict(SLIM, out_indices=(0, 3)), (128, 136), [(32, 32, 34), (256, 4, 5)]),
    'AlexNet': (dict(), (96, 64), [(256, 2, 1)]),
    'VGG': (dict(depth=11, num_stages=3, dilations=(1, 1, 1), norm_cfg=dict(type='BN'), out_indices=(0, 2)), (32, 48),
            [(64, 16, 24), (256, 4, 6)]),
    'MobileNetV2': (dict(widen_factor=.25, out_indices=(0, 2, 7)), (64, 48), [(8, 32, 24), (8, 8, 6), (1280, 2, 2)]),
    'MobileNetV3': (dict(out_indices=(0, -1)), (64, 48), [(16, 16, 12), (96, 2, 2)]),
    'ShuffleNetV1': (dict(groups=2, widen_factor=.5, out_indices=(0, 2)), (64, 48), [(104, 8, 6), (400, 2, 2)]),
    'ShuffleNetV2': (dict(widen_factor=.5, out_indices=(0, 3)), (64, 48), [(48, 8, 6), (1024, 2, 2)]),
    'ViPNAS_ResNet': (dict(SEARCHED, depth=50, out_indices=(0, 3)), (64, 48), [(16, 16, 12), (32, 2, 2)]),
    'ViPNAS_MobileNetV3': (MOBILE, (64, 48), [(16, 16, 12)]),
    'HRNet': (dict(extra=hrnet_extra(4, (1, 1, 1), 1, 8)), (64, 96), [(4, 16, 24)]),
    'HRFormer': (dict(extra=hrformer_extra()), (64, 96), [(8, 16, 24)]),
    'SwinTransformer': (dict(embed_dims=8, depths=(2, 1), num_heads=(1, 2), strides=(4, 2), window_size=4, drop_path_rate=0.,
                             out_indices=(0, 1)), (32, 48), [(8, 8, 12), (16, 4, 6)]),
    'VisionTransformer': (dict(arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32), img_size=(64, 48),
                               with_cls_token=False, out_type='featmap'), (64, 48), [(16, 4, 3)]),
    'PyramidVisionTransformer': (dict(embed_dims=8, num_layers=[1, 1, 1, 1], pretrain_img_size=64), (64, 96),
                                 [(8, 16, 24), (16, 8, 12), (40, 4, 6), (64, 2, 3)]),
    'PyramidVisionTransformerV2': (dict(embed_dims=8, num_layers=[1, 1, 1, 1]), (64, 96),
                                   [(8, 16, 24), (16, 8, 12), (40, 4, 6), (64, 2, 3)]),
    'LiteHRNet': (dict(extra=LITE), (32, 48), [(8, 8, 12)]),
    'CPM': (dict(in_channels=3, out_channels=5, feat_channels=8, middle_channels=8, num_stages=2), (48, 32), [(5, 6, 4)] * 2),
    'HourglassNet': (dict(downsample_times=2, num_stacks=2, stage_channels=(16, 24, 32), stage_blocks=(1, 1, 2), feat_channel=16),
                     (64, 48), [(16, 16, 12)] * 2),
    'HourglassAENet': (dict(num_stacks=1, out_channels=10, stage_channels=(8, 10, 12, 14, 16), feat_channels=8), (128, 64),
                       [(10, 32, 16)]),
    'MSPN': (dict(unit_channels=8, num_stages=2, num_units=2, num_blocks=[1, 1]), (64, 48), [(8, 8, 6), (8, 16, 12)] * 2),
    'RSN': (dict(unit_channels=8, num_stages=1, num_units=2, num_blocks=[1, 1], num_steps=4), (64, 48), [(8, 8, 6), (8, 16, 12)]),
    'CSPNeXt': (dict(deepen_factor=.33, widen_factor=.125), (64, 96), [(32, 8, 12), (64, 4, 6), (128, 2, 3)]),
}
NOT_PICTURES = {'HRFPN', 'TCN', 'DSTFormer', 'V2VNet', 'TIMMBackbone'}  # have tests of their own, or need an extra

CORE = ('ResNet', 'HRNet', 'MobileNetV2', 'VisionTransformer', 'CSPNeXt')  # the quick round tries these


def build(name, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type=name, **BACKBONES[name][0], **kwargs))


built = functools.cache(build)  # for tests that change nothing


def picture(name, batch=2):
    torch.manual_seed(1)
    return torch.randn(batch, 3, *BACKBONES[name][1])


def flat(maps):
    return [maps] if torch.is_tensor(maps) else [m for part in maps for m in flat(part)]


def accepts(name, argument):
    """Does the constructor know the argument, itself or through the **kwargs that it passes on?"""
    for c in inspect.getmro(MODELS.get(name)):
        if '__init__' in vars(c):
            parameters = inspect.signature(c.__init__).parameters
            if argument in parameters:
                return True
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                return False


def freezable():
    with torch.device('meta'):
        return [n for n in BACKBONES if accepts(n, 'frozen_stages') and len(build(n).stage_parts()) > 1]


def test_every_backbone_has_a_row():
    here = {name for name, c in MODELS.module_dict.items() if c.__module__.startswith('posebook.models.backbones.')}
    assert here - NOT_PICTURES - set(BACKBONES) == set(), 'add a row to BACKBONES for each'


@pytest.mark.parametrize('name', members(BACKBONES, CORE))
def test_shapes_repeat_and_batch(name):
    net, x = built(name).eval(), picture(name)
    with torch.no_grad():
        maps = net(x)
        again, first = flat(net(x)), flat(net(x[:1]))
    assert isinstance(maps, (tuple, list))
    assert [tuple(m.shape[1:]) for m in flat(maps)] == BACKBONES[name][2]
    for a, b, c in zip(flat(maps), again, first):
        assert torch.equal(a, b), 'eval mode is deterministic'
        assert torch.allclose(a[:1], c, atol=1e-4), 'a picture does not see its neighbours in the batch'


@pytest.mark.parametrize('name', members(BACKBONES, CORE))
def test_gradients_reach_all_parameters_and_the_input(name):
    net, x = build(name).train(), picture(name).requires_grad_()
    sum(m.square().mean() for m in flat(net(x))).backward()
    assert [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None] == []
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize('name', members(BACKBONES, CORE))
def test_state_dict_round_trip(name):
    a, b, x = build(name), MODELS.build(dict(type=name, **BACKBONES[name][0])), picture(name, 1)
    with torch.no_grad():
        for p in a.parameters():
            p.add_(torch.randn_like(p) * .01)
        inner = nn.ModuleDict(dict(backbone=b))
        inner.load_state_dict({f'backbone.{k}': v for k, v in a.state_dict().items()})  # strict
        b = copy.deepcopy(inner)['backbone']
        assert list(a.state_dict()) == list(b.state_dict())
        for m, n in zip(flat(a.eval()(x)), flat(b.eval()(x))):
            assert torch.equal(m, n)


@pytest.mark.parametrize('name', members(freezable(), CORE))
def test_frozen_stages_do_not_move(name):
    net = build(name, frozen_stages=1)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    sum(m.square().mean() for m in flat(net.train()(picture(name)))).backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=.1).step()
    frozen = [m for part in net.stage_parts()[:2] for m in part]  # modules, and parameters that are in none
    still = {id(t) for m in frozen for t in ((*m.parameters(), *m.buffers()) if isinstance(m, nn.Module) else (m, ))}
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    assert still and all(p.grad is None for p in net.parameters() if id(p) in still)
    inside = {v.data_ptr(): v for v in tensors.values() if id(v) in still}
    after = net.state_dict()
    assert any(v.data_ptr() in inside for v in after.values())
    for k, v in after.items():
        if v.data_ptr() in inside:
            assert torch.equal(v, before[k]), f'{k} moved'
    assert any(not torch.equal(v, before[k]) for k, v in after.items()), 'the rest learns'
    with pytest.raises((ValueError, TypeError), match='frozen_stages'):
        build(name, frozen_stages=99)


@pytest.mark.parametrize('name', members([n for n in BACKBONES if accepts(n, 'norm_eval')], CORE))
def test_norm_eval_keeps_statistics(name):
    net = build(name, norm_eval=True).train()
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert not any(m.training for m in norms)
    net(picture(name))
    assert all(m.num_batches_tracked == 0 for m in norms)


@pytest.mark.parametrize('name', members([n for n in BACKBONES if accepts(n, 'with_cp')], CORE))
def test_recomputing_changes_no_gradient(name):
    grads = []
    for with_cp in (False, True):
        quiet = dict(norm_eval=True) if accepts(name, 'norm_eval') else {}
        net, x = build(name, with_cp=with_cp, **quiet).train(), picture(name).requires_grad_()
        torch.manual_seed(2)
        sum(m.square().mean() for m in flat(net(x))).backward()
        grads.append({n: p.grad for n, p in net.named_parameters()} | {'input': x.grad})
    for key, grad in grads[0].items():
        assert torch.allclose(grad, grads[1][key], atol=1e-6, rtol=1e-4), key


@pytest.mark.parametrize('name', members([n for n in BACKBONES if accepts(n, 'init_cfg')], CORE))
def test_init_cfg_is_followed_and_kept(name):
    rule = [dict(type='Constant', val=.5, bias=.25, layer='Conv2d'), dict(type='Pretrained', checkpoint='somewhere.pth')]
    net = build(name, init_cfg=rule)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert convs and all((m.weight == .5).all() for m in convs)
    assert net.init_cfg == rule, 'init_weights() looks here for what is to be loaded'


@pytest.mark.parametrize('name', members(BACKBONES, CORE))
def test_wrong_input_is_refused(name):
    net = built(name).eval()
    for wrong in (picture(name)[0], picture(name)[:, :2]):
        with pytest.raises((ValueError, TypeError)):
            net(wrong)


@pytest.mark.parametrize('cfg, text', [
    (dict(type='ResNet', depth=49), 'depth'), (dict(type='ResNet', depth=18, out_indices=(4, )), 'out_indices'),
    (dict(type='ResNet', depth=18, strides=(1, 2)), 'strides'), (dict(type='ResNet', depth=18, num_stages=5), 'num_stages'),
    (dict(type='ResNeXt', depth=18), 'depth'), (dict(type='SEResNet', depth=34), 'depth'), (dict(type='SCNet', depth=152), 'depth'),
    (dict(type='ResNeSt', depth=18), 'depth'), (dict(type='RegNet', arch='regnety_400mf'), 'arch'),
    (dict(type='VGG', depth=12), 'depth'), (dict(type='VGG', depth=11, num_stages=6), 'num_stages'),
    (dict(type='MobileNetV2', out_indices=(8, )), 'out_indices'), (dict(type='MobileNetV2', frozen_stages=10), 'frozen_stages'),
    (dict(type='MobileNetV3', arch='large'), 'arch'), (dict(type='MobileNetV3', out_indices=(11, )), 'out_indices'),
    (dict(type='ShuffleNetV1', groups=5), 'groups'), (dict(type='ShuffleNetV2', widen_factor=.3), 'widen_factor'),
    (dict(type='ViPNAS_ResNet', depth=18), 'depth'), (dict(type='ViPNAS_MobileNetV3', wid=(8, 8)), 'wid'),
    (dict(type='ResNet', depth=18, strides=2), 'strides'), (dict(type='ResNet', depth=50, expansion=0), 'expansion'),
    (dict(type='RegNet', arch=dict(REGNET, wm=1)), 'wm'), (dict(type='MobileNetV2', frozen_stages=8), 'frozen_stages'),
    (dict(type='ShuffleNetV2', frozen_stages=4), 'frozen_stages'), (dict(type='HourglassNet', num_stacks=0), 'num_stacks'),
    (dict(type='HourglassAENet', feat_channels=128), 'feat_channels'), (dict(type='HourglassAENet', downsample_times=0), 'downsample_times'),
    (dict(type='CPM', in_channels=3, out_channels=5, num_stages=0), 'num_stages'),
    (dict(type='ResNet', depth=18, out_indices=3), 'out_indices'),
    (dict(type='RegNet', arch='regnetx_400mf', expansion=4), 'expansion'),
])
def test_wrong_arguments_are_named(cfg, text):
    with pytest.raises((ValueError, TypeError), match=text):
        MODELS.build(cfg)


@pytest.mark.parametrize('name', ['ResNet', 'ResNeXt', 'RegNet', 'MobileNetV2', 'AlexNet'])
def test_misspelt_arguments_are_refused(name):
    with pytest.raises(TypeError, match='out_indexes'):
        build(name, out_indexes=(0, ))


@pytest.mark.parametrize('depth, parameters, entries', [(50, 33_999_697, 338), (101, 52_991_825, 644), (152, 68_635_473, 950)])
def test_simple_baseline_counts(depth, parameters, entries):
    with torch.device('meta'):
        model = nn.ModuleDict(dict(backbone=ResNet(depth), head=HeatmapHead(2048, 17)))
    assert (count_parameters(model), len(model.state_dict())) == (parameters, entries)


@pytest.mark.parametrize('ours, theirs, sizes', [
    (MobileNetV2, 'mobilenet_v2', 'features'), (ShuffleNetV2, 'shufflenet_v2_x1_0', None)])
def test_wrapped_networks_are_torchvisions_own(ours, theirs, sizes):
    import torchvision  # takes seconds
    net, original, x = ours().eval(), torchvision.models.get_model(theirs).eval(), torch.randn(1, 3, 64, 48)
    theirs = [v for k, v in original.state_dict().items() if not k.startswith(('classifier', 'fc'))]
    net.load_state_dict(dict(zip(net.state_dict(), theirs, strict=True)))  # the same tensors in the same order
    outputs = []
    last = original.features if sizes else original.conv5
    last.register_forward_hook(lambda m, args, out: outputs.append(out))
    with torch.no_grad():
        original(x)
        assert torch.equal(net(x)[-1], outputs[0])


@pytest.mark.parametrize('depth', [18, 34, 50])
def test_resnet_has_torchvisions_names_and_shapes(depth):
    import torchvision
    with torch.device('meta'):
        ours, theirs = ResNet(depth).state_dict(), torchvision.models.get_model(f'resnet{depth}').state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items() if not k.startswith('fc.')}


def test_adapter_messages_use_the_checkpoints_names():
    model = nn.ModuleDict(dict(backbone=MobileNetV2(.25)))
    state = model.state_dict()
    state['backbone.conv1.conv.weight'] = torch.zeros(3)
    state['backbone.surplus'] = state.pop('backbone.layer2.0.conv.1.bn.weight')
    with pytest.raises(RuntimeError) as e:
        model.load_state_dict(state)
    for text in ('Missing key(s) in state_dict: "backbone.layer2.0.conv.1.bn.weight"',
                 'Unexpected key(s) in state_dict: "backbone.surplus"', 'size mismatch for backbone.conv1.conv.weight'):
        assert text in str(e.value)
    assert 'features' not in str(e.value)


def test_renamed_state_shares_memory_with_the_parameters():
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    rename_state_dict(inner, [('^0', 'conv1'), ('^1', 'bn1')])
    net = nn.ModuleDict(dict(backbone=inner))
    assert list(net.state_dict())[:3] == ['backbone.conv1.weight', 'backbone.conv1.bias', 'backbone.bn1.weight']
    inside = {t.data_ptr() for t in (*net.parameters(), *net.buffers())}
    assert {t.data_ptr() for t in net.state_dict().values()} == inside
    state = net.state_dict()
    state['backbone.bn1.weight'] = torch.zeros(7)
    del state['backbone.conv1.bias']
    with pytest.raises(RuntimeError, match='(?s)"backbone.conv1.bias".*size mismatch for backbone.bn1.weight'):
        net.load_state_dict(state)


@pytest.mark.parametrize('name', members([*BACKBONES, 'AlexNet-classifier', 'MobileNetV2-GN', 'ShuffleNetV2-plain'], CORE))
def test_parameters_are_called_as_in_the_state_dict(name):
    """Or functional_call, and optimizer groups made from names, would not find them."""
    special = {'AlexNet-classifier': dict(type='AlexNet', num_classes=3),
               'MobileNetV2-GN': dict(type='MobileNetV2', widen_factor=.25, norm_cfg=dict(type='GN', num_groups=4)),
               'ShuffleNetV2-plain': dict(type='ShuffleNetV2', widen_factor=.5, norm_cfg=None, act_cfg=None)}
    net = (MODELS.build(special[name]) if name in special else build(name)).eval()
    x, state = picture(name.split('-')[0]), net.state_dict()
    assert {k for k, _ in net.named_parameters()} <= set(state)
    assert {k for k, _ in (*net.named_parameters(), *net.named_buffers())} >= set(state)
    with torch.no_grad():
        maps = flat(torch.func.functional_call(net, state, (x, )))
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(maps, flat(net(x)), strict=True))
        half = {k: v / 2 if v.is_floating_point() else v for k, v in state.items()}
        other = flat(torch.func.functional_call(net, half, (x, )))
        assert not all(torch.equal(a, b) for a, b in zip(maps, other)), 'the given tensors are used'


def test_timm_backbone():
    x = torch.randn(1, 3, 64, 48)
    try:
        import timm  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r'pip install posebook\[timm\]'):
            MODELS.build(dict(type='TIMMBackbone', model_name='resnet10t'))
        return
    net = MODELS.build(dict(type='TIMMBackbone', model_name='resnet10t', features_only=True, out_indices=(2, 4)))
    assert [tuple(m.shape) for m in net(x)] == [(1, 128, 8, 6), (1, 512, 2, 2)]
    with pytest.raises(ValueError, match='model_name'):
        MODELS.build(dict(type='TIMMBackbone', model_name='resnet'))


def test_without_timm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'timm', None)
    with pytest.raises(ImportError, match=r'pip install posebook\[timm\]'):
        MODELS.build(dict(type='TIMMBackbone', model_name='resnet10t'))


# what a block computes, by hand

def with_random_norms(module):
    """In eval mode, with norms that are not the identity."""
    torch.manual_seed(0)
    for m in module.eval().modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, .5, 1.5), nn.init.normal_(m.bias), nn.init.normal_(m.running_mean, 0, .1)
    return module


def reads(module, call):
    """The input that `module` got while `call()` ran."""
    seen = []
    handle = module.register_forward_pre_hook(lambda m, args: seen.append(args[0].detach().clone()))
    call()
    handle.remove()
    return seen[0]


@torch.no_grad()
def test_split_attention_mixes_each_group_on_its_own():
    mixer, x = with_random_norms(SplitAttention(4, groups=2, radix=2)), torch.randn(2, 4, 6, 5)
    a, b = mixer.bn0(mixer.conv(x)).relu().chunk(2, 1)  # two candidates of four channels, two in each group
    mixer.fc2.weight.zero_()
    for wish, expected in (([99., 99, 0, 0, 99, 99, 0, 0], a),  # both groups want the first candidate
                           ([99., 99, 0, 0, 0, 0, 99, 99], torch.cat([a[:, :2], b[:, 2:]], 1))):
        mixer.fc2.bias.copy_(torch.tensor(wish))
        assert torch.allclose(mixer(x), expected, atol=1e-6)
    assert mixer(x[:0]).shape == (0, 4, 6, 5)


@torch.no_grad()
def test_self_calibration():
    layer, x = with_random_norms(SCConv(3)), torch.randn(1, 3, 8, 8)
    shrunk = torch.stack([x[..., i:i + 4, j:j + 4].mean((2, 3)) for i in (0, 4) for j in (0, 4)], 2).view(1, 3, 2, 2)
    coarse = layer.k2[1:](shrunk).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.allclose(layer(x), layer.k4(layer.k3(x) * (x + coarse).sigmoid()), atol=1e-6)
    block, y = with_random_norms(SCBottleneck(16, 64)), torch.randn(1, 16, 8, 8)
    block.conv3.weight[:, 8:].zero_()  # deaf to the calibrated half
    before = block(y)
    for m in block.scconv.parameters():
        m.add_(1)
    assert torch.equal(block(y), before)
    block.k1[1].bias.add_(1)
    assert not torch.equal(block(y), before)


@torch.no_grad()
def test_inverted_residual_gates_between_its_convolutions():
    se = dict(channels=12, ratio=4, act_cfg=SE_ACTS)
    block, x = with_random_norms(InvertedResidual(4, 4, 12, se_cfg=se)), torch.randn(1, 4, 6, 5)
    block.se.conv2.conv.weight.zero_()
    block.se.conv2.conv.bias.fill_(.5)  # the gate is (0.5 + 1) / 2
    assert torch.allclose(block(x), x + block.linear_conv(.75 * block.depthwise_conv(block.expand_conv(x))), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('stride', [1, 2])
def test_shuffle_unit(stride):
    unit = with_random_norms(ShuffleUnit(24, 24 * stride, groups=3, stride=stride))
    x = torch.randn(1, 24, 6, 4)
    inner = unit.depthwise_conv3x3_bn(unit.g_conv_1x1_compress(x))
    size = inner.shape[1] // 3
    dealt = inner[:, [g * size + i for i in range(size) for g in range(3)]]
    out = unit.g_conv_1x1_expand(dealt)
    assert torch.allclose(unit(x), (x + out).relu() if stride == 1 else
                          torch.cat([nn.functional.avg_pool2d(x, 3, 2, 1), out.relu()], 1), atol=1e-6)


@torch.no_grad()
def test_each_answer_is_read_by_the_next_stage():
    glass, x = with_random_norms(build('HourglassNet')), picture('HourglassNet', 1)
    first, stem = glass(x)[0], glass.stem(x)
    expected = glass.inters[0]((glass.conv1x1s[0](stem) + glass.remap_convs[0](first)).relu())
    assert torch.allclose(reads(glass.hourglass_modules[1], lambda: glass(x)), expected, atol=1e-5)
    glass = with_random_norms(MODELS.build(dict(type='HourglassAENet', downsample_times=2, num_stacks=2, out_channels=10,
                                                stage_channels=(8, 10, 12), feat_channels=8)))
    first, stem = glass(x)[0], glass.stem(x)
    expected = stem + glass.remap_out_convs[0](first) + glass.remap_feature_convs[0](glass.hourglass_modules[0](stem))
    assert torch.allclose(reads(glass.hourglass_modules[1], lambda: glass(x)), expected, atol=1e-5)
    cpm, x = with_random_norms(build('CPM')), torch.randn(1, 3, 57, 41)
    expected = torch.cat([cpm(x)[0], cpm.middle_conv[0](cpm.middle(x))], 1)
    assert torch.allclose(reads(cpm.cpm_stages[0], lambda: cpm(x)), expected) and expected.shape[2:] == (8, 6)


def test_one_hourglass_has_the_published_size():
    with torch.device('meta'):
        net, head = MODELS.build(dict(type='HourglassNet', num_stacks=1)), nn.Conv2d(256, 17, 1)
    assert round((count_parameters(net) + count_parameters(head)) / 1e6, 2) == 94.85  # MMPose's model zoo, hourglass52
    assert 'inters.0.conv1.weight' in net.state_dict() and 'inters.1.conv1.weight' not in net.state_dict()


def test_vgg_returns_the_scores_after_the_chosen_maps():
    with torch.device('meta'):
        net, x = MODELS.build(dict(type='VGG', depth=11, num_classes=7, out_indices=(1, ))), torch.empty(1, 3, 224, 224)
        assert [tuple(m.shape) for m in net(x)] == [(1, 128, 56, 56), (1, 7)]
        assert [tuple(m.shape) for m in MODELS.build(dict(type='VGG', depth=11, num_classes=7))(x)] == [(1, 7)]


def test_searched_widths_are_those_inside_the_blocks():
    with torch.device('meta'):
        net = MODELS.build(dict(type='ViPNAS_ResNet', depth=50, expan=(None, 2, None, 1, 1)))
    assert net.layer1[1].conv2.out_channels == 80 and net.layer1[1].conv3.out_channels == 160
    assert net.layer2[1].conv2.out_channels == net.layer2[1].conv3.out_channels == 160


def test_shufflenet_starts_as_published():
    net = build('ShuffleNetV1')
    assert abs(net.conv1.conv.weight.std() / .01 - 1) < .2
    w = net.layers[2][3].g_conv_1x1_compress.conv.weight
    assert abs(w.std() * w.shape[1] - 1) < .1 and net.conv1.bn.bias.unique().tolist() == [pytest.approx(1e-4)]


def test_no_activation_means_none():
    assert not any(isinstance(m, nn.ReLU6) for m in MobileNetV2(.25, act_cfg=None).modules())


@pytest.mark.parametrize('name', ['MobileNetV2', 'ShuffleNetV2', 'ShuffleNetV1', 'MobileNetV3'])
def test_no_norm_means_none_and_a_bias_for_each_convolution(name):
    net, normed = build(name, norm_cfg=None).eval(), built(name)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert all(m.bias is not None for m in net.modules() if isinstance(m, nn.Conv2d))
    keys, rest = set(net.state_dict()), ('bn.running_mean', 'bn.running_var', 'bn.num_batches_tracked', 'bn.weight')
    assert keys == {k.replace('bn.bias', 'conv.bias') for k in normed.state_dict() if not k.endswith(rest)}
    assert [tuple(m.shape[1:]) for m in net(picture(name))] == BACKBONES[name][2]


@pytest.mark.parametrize('norm_cfg', [dict(type='IN'), dict(type='BN', affine=False)])
@pytest.mark.parametrize('name', ['ResNet', 'ResNeXt', 'SEResNet', 'RegNet', 'ResNetV1d'])
def test_norms_without_a_scale(name, norm_cfg):
    net = build(name, norm_cfg=norm_cfg)
    assert [tuple(m.shape[1:]) for m in net.eval()(picture(name))] == BACKBONES[name][2]
    assert not any('bn' in k or 'in1' in k for k, _ in net.named_parameters())


RESNET = ('depth in_channels stem_channels base_channels expansion num_stages strides dilations out_indices style deep_stem avg_down '
          'frozen_stages conv_cfg norm_cfg norm_eval with_cp zero_init_residual init_cfg')
STAGES = 'out_indices frozen_stages conv_cfg norm_cfg act_cfg norm_eval with_cp init_cfg'


@pytest.mark.parametrize('name, order', [
    ('ResNet', RESNET), ('ResNeXt', 'depth groups width_per_group'), ('SEResNet', 'depth se_ratio'),
    ('SEResNeXt', 'depth groups width_per_group'), ('ResNeSt', 'depth groups width_per_group radix reduction_factor avg_down_stride'),
    ('RegNet', 'arch in_channels stem_channels base_channels strides dilations out_indices style deep_stem'),
    ('AlexNet', 'num_classes init_cfg'), ('MobileNetV2', f'widen_factor {STAGES}'), ('ShuffleNetV1', f'groups widen_factor {STAGES}'),
    ('ShuffleNetV2', f'widen_factor {STAGES}'),
    ('MobileNetV3', 'arch conv_cfg norm_cfg out_indices frozen_stages norm_eval with_cp init_cfg'),
    ('VGG', 'depth num_classes num_stages dilations out_indices frozen_stages conv_cfg norm_cfg act_cfg norm_eval ceil_mode with_last_pool'),
    ('ViPNAS_ResNet', 'depth in_channels num_stages strides dilations out_indices style deep_stem avg_down frozen_stages conv_cfg '
                      'norm_cfg norm_eval with_cp zero_init_residual wid expan dep ks group att init_cfg'),
    ('ViPNAS_MobileNetV3', 'wid expan dep ks group att stride act conv_cfg norm_cfg frozen_stages norm_eval with_cp init_cfg'),
    ('CPM', 'in_channels out_channels feat_channels middle_channels num_stages norm_cfg init_cfg'),
    ('HourglassNet', 'downsample_times num_stacks stage_channels stage_blocks feat_channel norm_cfg init_cfg'),
    ('HourglassAENet', 'downsample_times num_stacks out_channels stage_channels feat_channels norm_cfg init_cfg'),
    ('TIMMBackbone', 'model_name features_only pretrained checkpoint_path in_channels init_cfg'),
])
def test_arguments_come_in_the_documented_order(name, order):
    assert list(inspect.signature(MODELS.get(name)).parameters)[:len(order.split())] == order.split()


def test_an_hourglass_answers_in_a_width_of_its_own():
    """The stem gives the first of stage_channels, so feat_channel is free."""
    net = MODELS.build(dict(BACKBONES['HourglassNet'][0], type='HourglassNet', feat_channel=6))
    assert [tuple(m.shape[1:]) for m in net.eval()(picture('HourglassNet'))] == [(6, *s[1:]) for s in BACKBONES['HourglassNet'][2]]
    shapes = {k: tuple(v.shape) for k, v in net.state_dict().items() if k.endswith('conv.weight') or 'downsample.0' in k}
    assert shapes['stem.1.0.downsample.0.weight'] == (16, 128, 1, 1)
    assert shapes['out_convs.0.conv.weight'] == (6, 16, 3, 3) and shapes['remap_convs.0.conv.weight'] == (16, 6, 1, 1)


@pytest.mark.parametrize('height, width, masks', [(5, 5, True), (5, 8, False), (8, 5, False), (8, 8, False)])
def test_window_masks_need_both_sides_padded(height, width, masks):
    """Windows of 4: 5 is filled up to 8. MMPose masks only where height and width both are."""
    torch.manual_seed(0)
    plain, careful = (LocalWindowSelfAttention(8, 2, 4, with_pad_mask=m) for m in (False, True))
    careful.load_state_dict(plain.state_dict())
    x = torch.randn(2, height * width, 8)
    assert torch.equal(plain(x, height, width), careful(x, height, width)) != masks


@pytest.mark.parametrize('name', ['ResNet', 'HRNet', 'ShuffleNetV1', 'MobileNetV2', 'VGG', 'SwinTransformer', 'MSPN', 'TCN'])
def test_init_weights_follows_the_rules_again(name, tmp_path):
    net = MODELS.build(dict(type='TCN', in_channels=4, stem_channels=8)) if name == 'TCN' else build(name)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        assert net.init_weights() == {}
        found.append({k: v.clone() for k, v in net.state_dict().items()})
    assert all(torch.equal(v, found[1][k]) for k, v in found[0].items())
    torch.save(found[0], tmp_path / 'weights.pth')
    net.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    for p in net.parameters():
        p.data.fill_(3)
    assert list(net.init_weights()) == ['']  # a report for the module itself
    assert all(torch.equal(v, found[0][k]) for k, v in net.state_dict().items())


def test_zero_init_residual_survives_init_weights():
    net = build('ResNet')
    net.init_weights()
    assert all(m.last_norm.weight.abs().sum() == 0 for m in net.modules() if hasattr(m, 'last_norm'))


def test_init_weights_of_an_estimator_reaches_its_parts():
    cfg = dict(type='TopdownPoseEstimator', backbone=dict(type='AlexNet', init_cfg=dict(type='Constant', val=2, layer='Conv2d')),
               head=dict(type='HeatmapHead', in_channels=256, out_channels=2, deconv_out_channels=None,
                         init_cfg=dict(type='Constant', val=.5, layer='Conv2d')))
    model = MODELS.build(cfg)
    for p in model.parameters():
        p.data.fill_(7)
    assert model.init_weights() == {}
    assert model.backbone.features[0].weight.unique().tolist() == [2] and model.head.final_layer.weight.unique().tolist() == [.5]


def test_a_basic_block_has_one_width_and_a_short_sequence_is_named():
    from posebook.models.backbones import BasicBlock
    from posebook.models.backbones.tcn import BasicTemporalBlock
    with pytest.raises(ValueError, match='BasicBlock: expansion must be 1; got 2'):
        BasicBlock(64, 64, expansion=2)
    block = BasicTemporalBlock(4, 4, 8).eval()
    assert block(torch.randn(1, 4, 7)).shape == (1, 4, 1)
    with pytest.raises(ValueError, match=r'BasicTemporalBlock: input must be \(B, 4, T\) with T at least 7'):
        block(torch.randn(1, 4, 6))
    with pytest.raises(ValueError, match='HRFormer: extra'):
        extra = hrformer_extra()
        MODELS.build(dict(type='HRFormer', extra=dict(extra, stage4=dict(extra['stage4'], num_channels=(1, 2)))))
    for name in ('SwinTransformer', 'PyramidVisionTransformer'):
        with pytest.raises(ValueError, match=f'{name}: pretrain_img_size must be one number or'):
            build(name, **dict(pretrain_img_size=(224, 224, 224))) if name == 'SwinTransformer' else \
                MODELS.build(dict(type=name, **{**BACKBONES[name][0], 'pretrain_img_size': (224, 224, 224)}))
