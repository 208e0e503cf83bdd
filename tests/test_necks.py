"""Necks, and the joints inside networks where a swapped order or source would go unseen: numbers by hand."""
import pytest
import torch
import torch.nn.functional as F
from test_backbones import BACKBONES, build, flat, picture
from torch import nn

from posebook.models.backbones.cspnext import CSPLayer, SPPBottleneck
from posebook.models.backbones.lite_hrnet import IterativeHead, LiteHRModule, LiteStem
from posebook.models.backbones.mspn import UpsampleUnit
from posebook.models.necks import FPN, ChannelMapper, CSPNeXtPAFPN, FeatureMapProcessor, GlobalAveragePooling

torch.set_num_threads(1)


def maps_of(*channels, side=8, batch=2):
    torch.manual_seed(0)
    return tuple(torch.randn(batch, c, side >> i, side >> i) for i, c in enumerate(channels))


def inputs_of(module):
    """A list that fills with what `module` is given."""
    seen = []
    module.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    return seen


NECKS = [GlobalAveragePooling(), FeatureMapProcessor(concat=True, scale_factor=2., apply_relu=True), ChannelMapper([4, 6, 8], 5, num_outs=4),
         FPN([4, 6, 8], 5, 4, add_extra_convs=True), CSPNeXtPAFPN([4, 6, 8], 5, num_csp_blocks=1)]


@pytest.mark.parametrize('neck', NECKS, ids=lambda n: type(n).__name__)
def test_necks_keep_their_inputs_and_treat_pictures_alone(neck):
    maps = maps_of(4, 6, 8)
    before = [m.clone() for m in maps]
    neck.eval()
    with torch.no_grad():
        together, alone, none = neck(maps), neck([m[:1] for m in maps]), neck([m[:0] for m in maps])
        double = neck.double()([m.double() for m in maps])
    neck.float()
    assert all(torch.equal(a, b) for a, b in zip(maps, before))
    for a, b, c, d in zip(together, alone, none, double):
        assert torch.allclose(a[:1], b, atol=1e-5) and c.shape == (0, *a.shape[1:])
        assert d.dtype == torch.float64 and torch.allclose(a.double(), d, atol=1e-4)


@pytest.mark.parametrize('source', [False, True, 'on_input', 'on_lateral', 'on_output'])
@pytest.mark.parametrize('rectify', [False, True])
def test_fpn_makes_more_maps_from_the_named_source(source, rectify):
    fpn, maps = FPN([2, 3], 4, 4, add_extra_convs=source, relu_before_extra_convs=rectify), maps_of(2, 3)
    outs = fpn(maps)
    laterals = fpn.lateral_convs[1](maps[1])  # the coarsest: nothing is added to it
    if not source:
        assert torch.equal(outs[2], outs[1][..., ::2, ::2]) and torch.equal(outs[3], outs[1][..., ::4, ::4])
        return
    first = fpn.fpn_convs[2]({'on_lateral': laterals, 'on_output': outs[1]}.get(source, maps[1]))
    assert torch.allclose(outs[2], first, atol=1e-6)
    assert torch.allclose(outs[3], fpn.fpn_convs[3](first.relu() if rectify else first), atol=1e-6)


def test_fpn_levels_and_enlarging():
    maps = maps_of(2, 3, 4)
    part = FPN([2, 3, 4], 5, 2, end_level=1)
    assert [m.shape[-1] for m in part(maps)] == [8, 4]
    assert torch.equal(part(maps)[0], part((*maps[:2], maps[2] + 1))[0]), 'the third map is not read'
    by_factor = FPN([2, 3, 4], 5, 3, upsample_cfg=dict(scale_factor=2, mode='nearest'))
    by_size = FPN([2, 3, 4], 5, 3)
    by_size.load_state_dict(by_factor.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(by_factor(maps), by_size(maps)))
    nn.init.zeros_(by_size.lateral_convs[0].conv.weight), nn.init.zeros_(by_size.lateral_convs[0].conv.bias)
    joined = inputs_of(by_size.fpn_convs[0]), inputs_of(by_size.fpn_convs[1])
    by_size(maps)
    assert torch.equal(joined[0][0], joined[1][0].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert by_size([torch.randn(1, c, s, s) for c, s in ((2, 7), (3, 4), (4, 2))])[0].shape[-1] == 7  # odd sizes
    norms = FPN([2, 3], 4, 2, norm_cfg=dict(type='BN'), no_norm_on_lateral=True).state_dict()
    assert 'fpn_convs.0.bn.weight' in norms and 'lateral_convs.0.bn.weight' not in norms and 'lateral_convs.0.conv.bias' in norms


def test_pafpn_stacks_what_comes_before_what_is_there():
    neck, maps = CSPNeXtPAFPN([2, 4], None, (0, 1), num_csp_blocks=1).eval(), maps_of(2, 4)
    down, up = inputs_of(neck.top_down_blocks[0]), inputs_of(neck.bottom_up_blocks[0])
    fine, _ = neck(maps)
    reduced = neck.reduce_layers[0](maps[1])
    assert torch.allclose(down[0], torch.cat([F.interpolate(reduced, scale_factor=2), maps[0]], 1))
    assert torch.allclose(up[0], torch.cat([neck.downsamples[0](fine), reduced], 1), atol=1e-6)


def test_channel_mapper_goes_on_from_the_last_input():
    neck, maps = ChannelMapper([2, 3], 4, num_outs=4, act_cfg=None), maps_of(2, 3)
    outs = neck(maps)
    assert torch.equal(outs[2], neck.extra_convs[0](maps[1])) and torch.equal(outs[3], neck.extra_convs[1](outs[2]))
    assert len(ChannelMapper([2, 3], 4, num_outs=1)(maps)) == 2


def test_a_single_map_stays_one():
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(FeatureMapProcessor(apply_relu=True)(x), x.relu()) and GlobalAveragePooling()(x).shape == (2, 3)
    assert isinstance(FeatureMapProcessor(select_index=(-1, 0))([x, x]), tuple)


def test_csp_layers_stack_blocks_before_the_rest():
    layer, x = CSPLayer(4, 4, 1, act_cfg=None), torch.randn(1, 4, 5, 5)
    nn.init.dirac_(layer.final_conv.conv.weight), nn.init.zeros_(layer.final_conv.conv.bias)
    assert torch.allclose(layer(x), torch.cat([layer.blocks(layer.main_conv(x)), layer.short_conv(x)], 1), atol=1e-6)
    spp = SPPBottleneck(2, 4, act_cfg=None)
    nn.init.dirac_(spp.conv2.conv.weight), nn.init.zeros_(spp.conv2.conv.bias)
    out = spp(torch.randn(1, 2, 9, 9))[0]
    assert all((a <= b).all() and not torch.equal(a, b) for a, b in zip(out, out[1:])), 'itself, then maxima over more and more'


@pytest.mark.parametrize('make', ['mspn', 'lite'])
def test_enlarging_keeps_corners(make):
    """0, 1 at two pixels become 0, 1/3, 2/3, 1 at four: the corners stay where they are."""
    ramp, zeros = torch.tensor([0., 1.]).expand(1, 2, 2, 2), torch.zeros(1, 2, 4, 4)
    if make == 'mspn':
        unit = UpsampleUnit(2, 2, False, False, None, None)
        nn.init.zeros_(unit.in_skip.conv.weight), nn.init.zeros_(unit.in_skip.conv.bias)
        nn.init.dirac_(unit.up_conv.conv.weight), nn.init.zeros_(unit.up_conv.conv.bias)
        got = unit(zeros, ramp)[0]
    else:
        head = IterativeHead([2, 2])
        seen = inputs_of(head.projects[1])
        head.projects[0] = nn.Identity()
        head([zeros, ramp])
        got = seen[0]
    assert torch.allclose(got, torch.linspace(0, 1, 4).expand(1, 2, 4, 4), atol=1e-6)


def test_mspn_skips_come_from_down_and_up():
    unit, x = UpsampleUnit(2, 3, True, True, 4, None), torch.randn(1, 2, 4, 4)
    out, skip1, skip2, cross = unit(x, None)
    assert torch.equal(skip1, unit.out_skip1(x)) and torch.equal(skip2, unit.out_skip2(out)) and torch.equal(cross, unit.cross_conv(out))


def test_lite_stem_puts_the_short_branch_first():
    stem = LiteStem(3, 4, 4).eval()
    nn.init.zeros_(stem.branch1[1].conv.weight), nn.init.zeros_(stem.branch1[1].conv.bias)
    nn.init.ones_(stem.linear_conv.conv.bias)
    nn.init.zeros_(stem.linear_conv.conv.weight)
    assert stem(torch.randn(1, 3, 16, 16))[0, :, 0, 0].tolist() == [0, 1, 0, 1]


def test_lite_fusion_is_the_same_in_both_modes():
    """In training the path from the finest branch is computed twice, as in the release; the result is the same."""
    module = LiteHRModule([2, 4, 8], 0, 4, multiscale_output=True, norm_cfg=dict(type='IN')).requires_grad_(False)
    maps = list(maps_of(2, 4, 8, side=16))
    before = [m.clone() for m in maps]
    for a, b in zip(module.train()(maps), module.eval()(maps)):
        assert torch.allclose(a, b, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(maps, before))


@pytest.mark.parametrize('name', ['MSPN', 'RSN', 'LiteHRNet', 'HRFormer', 'CSPNeXt', 'VisionTransformer', 'SwinTransformer',
                                  'PyramidVisionTransformer', 'PyramidVisionTransformerV2'])
def test_no_pictures_no_maps_no_error(name):
    net = build(name).eval()
    with torch.no_grad():
        assert [tuple(m.shape) for m in flat(net(picture(name)[:0]))] == [(0, *s) for s in BACKBONES[name][2]]
