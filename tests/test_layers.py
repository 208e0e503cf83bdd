"""Layers from configs, the first weights, and what every backbone shares."""
import copy
import math

import pytest
import torch
from torch import nn

from posebook.models import PoseDataPreprocessor
from posebook.models.backbones.base import BaseBackbone, check_input, check_out_indices, recompute
from posebook.models.layers import (ACTIVATION_LAYERS, CONV_LAYERS, NORM_LAYERS, ConvModule,
                                    DepthwiseSeparableConvModule, SELayer, build_activation_layer,
                                    build_conv_layer, build_norm_layer, initialize,
                                    make_divisible, norm_name)
from posebook.structures import PoseDataSample

BUILDERS = {'conv_cfg': (lambda cfg: build_conv_layer(cfg, 4, 8, 3), CONV_LAYERS),
            'norm_cfg': (lambda cfg: build_norm_layer(cfg, 8), NORM_LAYERS),
            'act_cfg': (build_activation_layer, ACTIVATION_LAYERS)}


@pytest.mark.parametrize('name', BUILDERS)
def test_every_type_is_built_and_its_config_left_alone(name):
    build, known = BUILDERS[name]
    for kind in known:
        cfg = dict(type=kind, num_groups=2) if kind == 'GN' else dict(type=kind)
        before = copy.deepcopy(cfg)
        assert isinstance(build(cfg), nn.Module) and cfg == before
    assert isinstance(build(None), nn.Module)


@pytest.mark.parametrize('name, typo, meant', [
    ('conv_cfg', 'conv2D', 'Conv2d'), ('norm_cfg', 'SyncBn', 'SyncBN'), ('act_cfg', 'relu', 'ReLU')])
def test_typos_get_a_suggestion(name, typo, meant):
    build, _ = BUILDERS[name]
    with pytest.raises(ValueError, match=f"{name}: unknown type '{typo}'.*Did you mean '{meant}'"):
        build(dict(type=typo))
    with pytest.raises(TypeError, match=f'{name} must be a dict'):
        build(meant)


@pytest.mark.parametrize('cfg, name', [
    (None, 'bn'), (dict(type='SyncBN'), 'bn'), (dict(type='BN1d'), 'bn'),
    (dict(type='GN', num_groups=2), 'gn'), (dict(type='LN'), 'ln'), (dict(type='IN2d'), 'in')])
def test_names_of_norms(cfg, name):
    assert (norm_name(cfg), norm_name(cfg, 2)) == (name, f'{name}2')
    if cfg is not None:
        module = ConvModule(4, 8, 1, norm_cfg=cfg)
        assert isinstance(getattr(module, name), nn.Module) and module.conv.bias is None


def test_frozen_norms_and_their_arguments():
    norm = build_norm_layer(dict(type='BN', momentum=.3, eps=.5, requires_grad=False), 4)
    assert (norm.momentum, norm.eps) == (.3, .5) and not norm.weight.requires_grad
    assert build_norm_layer(dict(type='BN'), 4).weight.requires_grad


def test_conv_module_equals_its_definition():
    torch.manual_seed(0)
    module = ConvModule(3, 4, 3, 2, 1, 1, 1, True, None, dict(type='BN'), dict(type='Sigmoid'))
    x = torch.randn(2, 3, 9, 7)
    want = nn.functional.conv2d(x, module.conv.weight, module.conv.bias, 2, 1)
    want = (want - want.mean((0, 2, 3), True)) / (want.var((0, 2, 3), False, True) + 1e-5).sqrt()
    assert torch.allclose(module(x), want.sigmoid(), atol=1e-5)


def test_depthwise_separable_in_the_documented_order():
    module = DepthwiseSeparableConvModule(4, 6, 3, 1, 1, 1, dict(type='BN'), dict(type='ReLU'),
                                          None, None, 'default', dict(type='Tanh'), bias=True)
    first, second = module.depthwise_conv, module.pointwise_conv
    assert first.conv.groups == 4 and first.norm_name is None and first.activate is None
    assert second.norm_name == 'bn' and isinstance(second.activate, nn.Tanh)
    assert first.conv.bias is not None and second.conv.bias is not None
    x = torch.randn(2, 4, 5, 6)
    assert torch.allclose(module.eval()(x), second(first.conv(x))) and module(x).min() < 0


def test_squeeze_and_excitation_by_hand():
    layer = SELayer(4, ratio=2., act_cfg=dict(type='Sigmoid'))
    x = torch.randn(2, 4, 3, 5)
    hidden = layer.conv1.conv(x.mean((2, 3), keepdim=True)).sigmoid()
    assert hidden.shape[1] == 2
    assert torch.allclose(layer(x), x * layer.conv2.conv(hidden).sigmoid())


@pytest.mark.parametrize('value, divisor, args, want', [
    (37, 8, (), 40), (11, 8, (), 16), (3, 8, (), 8), (3, 8, (16, ), 16), (44, 8, (), 48),
    (43, 8, (), 40), (19, 16, (None, .5), 16), (19, 16, (), 32)])
def test_make_divisible(value, divisor, args, want):
    assert make_divisible(value, divisor, *args) == want


# ------------------------------------------------------------------------- first weights
def net():
    return nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def test_later_entries_win_and_biases_are_zero():
    one = net()
    rules = [dict(type='Constant', val=3, layer=['Conv2d', '_BatchNorm']),
             dict(type='Constant', val=5, bias=2, layer='BatchNorm2d')]
    before = copy.deepcopy(rules)
    initialize(one, rules)
    assert (one[0].weight == 3).all() and (one[0].bias == 0).all()
    assert (one[1].weight == 5).all() and (one[1].bias == 2).all() and rules == before


def test_override_and_bias_prob():
    one = net()
    initialize(one, dict(type='Constant', val=1, bias_prob=.2, layer='Conv2d', override=[
        dict(name='1', type='Constant', val=9, bias=8), dict(name='2')]))
    assert torch.allclose(one[0].bias, torch.tensor(-math.log(4)))
    assert (one[1].weight == 9).all() and (one[1].bias == 8).all() and (one[2].weight == 1).all()


@pytest.mark.parametrize('rule, low, high', [
    (dict(type='Uniform', a=-2, b=-1), -2, -1), (dict(type='TruncNormal', std=5., a=-1, b=1), -1, 1),
    (dict(type='Caffe2Xavier'), -(3 / 36)**.5, (3 / 36)**.5),
    (dict(type='Xavier', distribution='uniform'), -(6 / 72)**.5, (6 / 72)**.5)])
def test_ranges(rule, low, high):
    conv = nn.Conv2d(4, 4, 3)
    initialize(conv, {**rule, 'layer': 'Conv2d'})
    assert low <= conv.weight.min() < low + .3 * (high - low)
    assert high >= conv.weight.max() > high - .3 * (high - low)


@pytest.mark.parametrize('rule, error, text', [
    ('Normal', TypeError, 'init_cfg must be a dict'),
    (dict(type='Norml', layer='Conv2d'), ValueError, "mean 'Normal'"),
    (dict(type='Normal', sd=1, layer='Conv2d'), TypeError, 'got sd'),
    (dict(type='Normal', override=dict(type='Normal')), ValueError, 'name of a child'),
    (dict(type='Normal', override=dict(name='1', std=3)), ValueError, 'needs a type')])
def test_wrong_rules_are_named(rule, error, text):
    with pytest.raises(error, match=text):
        initialize(net(), rule)


# ------------------------------------------------------------------ what backbones share
class Two(BaseBackbone):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem, self.stage1 = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), net()
        self.freeze()

    def stage_parts(self):
        return [[self.stem], [self.stage1]]


def test_frozen_norms_stand_still_while_training_again():
    two = Two(frozen_stages=0)
    for _ in range(2):
        two.eval()
        two.train()
        assert [two.stem[1].training, two.stage1[1].training] == [False, True]
        assert not two.stem[0].weight.requires_grad and two.stage1[0].weight.requires_grad
    before = two.stem[1].running_mean.clone()
    two.stem(torch.randn(4, 3, 5, 5) + 3)
    assert torch.equal(two.stem[1].running_mean, before)


@pytest.mark.parametrize('frozen', [-2, 2, '1', None, .5])
def test_wrong_frozen_stages(frozen):
    with pytest.raises(ValueError, match=r'Two: frozen_stages must be (.* up to 1|a whole number); got'):
        Two(frozen_stages=frozen)


@pytest.mark.parametrize('x, error, text', [
    (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, 'uint8'), ([1], TypeError, 'got list'),
    (torch.zeros(1, 8, 8, 3), ValueError, r'\(B, 3, H, W\)'), (torch.zeros(1, 3, 8, 4), ValueError, 'width 4 to 8'),
    (torch.zeros(1, 3, 20, 8), ValueError, 'height 20 to 16 or 24'), (torch.zeros(1, 3, 0, 8), ValueError, 'height')])
def test_wrong_input_is_named(x, error, text):
    with pytest.raises(error, match=text):
        check_input('Net', x, 3, 8)


def test_out_indices_count_from_both_ends():
    assert check_out_indices('Net', [0, -1], 4) == (0, 3)
    for wrong in ([], [4], [-5]):
        with pytest.raises(ValueError, match='between 0 and 3'):
            check_out_indices('Net', wrong, 4)


def test_recompute_runs_again_only_where_a_gradient_is_asked_for():
    runs = []

    def f(x):
        runs.append(1)
        return x * x

    recompute(f, torch.ones(2))
    assert len(runs) == 1
    x = torch.tensor([3.], requires_grad=True)
    recompute(f, x).backward()
    assert len(runs) == 3 and x.grad == 6


# ---------------------------------------------------------------------- the preprocessor
def test_each_sample_knows_its_own_padding():
    samples = [PoseDataSample(metainfo=dict(img_id=i)) for i in range(2)]
    batch = PoseDataPreprocessor(pad_size_divisor=4)(
        dict(inputs=[torch.zeros(3, 5, 9), torch.zeros(3, 8, 2)], data_samples=samples))
    assert [s.metainfo['pad_shape'] for s in batch['data_samples']] == [(8, 12), (8, 4)]
    assert {s.metainfo['batch_input_shape'] for s in batch['data_samples']} == {(8, 12)}
    assert 'pad_shape' not in samples[0].metainfo


def test_one_number_serves_all_channels():
    x = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8)
    out = PoseDataPreprocessor([10.], [2., 4., 8.], rgb_to_bgr=True)(dict(inputs=[x]))['inputs'][0]
    assert torch.allclose(out, (x.flip(0) - 10.) / torch.tensor([2., 4., 8.]).view(3, 1, 1))
    with pytest.raises(ValueError, match='std has 3 channels'):
        PoseDataPreprocessor([10.], [2., 4., 8.])(dict(inputs=[x[:1]]))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_have_the_dtype_of_the_model(dtype):
    prepare = PoseDataPreprocessor([100.] * 3, [50.] * 3).to(dtype)
    out = prepare(dict(inputs=[torch.full((3, 2, 2), 150, dtype=torch.uint8)]))['inputs']
    assert out.dtype == dtype and (out == 1).all()
    assert PoseDataPreprocessor().to(dtype)(dict(inputs=torch.zeros(1, 3, 2, 2)))['inputs'].dtype == dtype
