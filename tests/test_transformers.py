"""ViT, Swin and PVT against the same networks of torchvision and timm, and checkpoints of other names and sizes."""
import re

import pytest
import torch
from torch import nn

from posebook.models.backbones import PyramidVisionTransformer as PVT
from posebook.models.backbones import PyramidVisionTransformerV2 as PVTv2
from posebook.models.backbones import SwinTransformer, VisionTransformer
from posebook.models.backbones.swin import convert_swin, resize_bias_table
from posebook.checkpoints.loading import load_checkpoint
from posebook.checkpoints.report import CheckpointMismatchError
from posebook.models.complexity import count_macs, count_parameters
from posebook.registry import MODELS

torch.set_num_threads(1)

TINY = dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=64)
VITPOSE = dict(img_size=(256, 192), patch_size=16, qkv_bias=True, with_cls_token=False, out_type='featmap', patch_cfg=dict(padding=2))
TORCHVISION_VIT = [('^class_token', 'cls_token'), ('^conv_proj', 'patch_embed.projection'), (r'^encoder\.pos_embedding', 'pos_embed'),
                   (r'^encoder\.layers\.encoder_layer_', 'layers.'), (r'ln_(\d)', r'ln\1'), (r'self_attention\.in_proj_', 'attn.qkv.'),
                   (r'self_attention\.out_proj', 'attn.proj'), (r'mlp\.0', 'ffn.layers.0.0'), (r'mlp\.3', 'ffn.layers.1'),
                   (r'^encoder\.ln', 'ln1')]


def renamed(state, rules):
    out = {}
    for key, value in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        out[key] = value
    return out


def shaken(net, std=.1):
    """The network in eval mode with weights that are all random, so that none goes unnoticed."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * std)
    return net.eval()


def test_vit_equals_torchvisions():
    import torchvision  # takes seconds
    theirs = shaken(torchvision.models.VisionTransformer(64, 16, 3, 4, 32, 64, num_classes=5))
    state = {k: v for k, v in renamed(theirs.state_dict(), TORCHVISION_VIT).items() if not k.startswith('heads')}
    outs = {}
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for out_type in ('cls_token', 'raw', 'featmap'):
            net = VisionTransformer(TINY, 64, out_type=out_type).eval()
            net.load_state_dict(state)  # strict: the names are the same
            outs[out_type], = net(x)
        tokens = theirs.encoder(torch.cat([theirs.class_token.expand(2, -1, -1), theirs._process_input(x)], 1))
    assert torch.allclose(outs['raw'], tokens, atol=1e-5) and torch.equal(outs['cls_token'], outs['raw'][:, 0])
    assert torch.equal(outs['featmap'].flatten(2).transpose(1, 2), outs['raw'][:, 1:]) and outs['featmap'].shape == (2, 32, 4, 4)


@pytest.mark.parametrize('class_token', [True, False])
@pytest.mark.parametrize('scale', [0., .1])
@pytest.mark.parametrize('pre_norm', [True, False])
def test_vit_equals_timms(class_token, scale, pre_norm):
    timm = pytest.importorskip('timm')
    theirs = shaken(timm.models.vision_transformer.VisionTransformer(
        (64, 48), 16, num_classes=0, embed_dim=32, depth=3, num_heads=4, mlp_ratio=2, class_token=class_token, pre_norm=pre_norm,
        init_values=scale or None, global_pool='token' if class_token else 'avg', fc_norm=False))
    net = VisionTransformer(TINY, (64, 48), with_cls_token=class_token, out_type='raw', pre_norm=pre_norm, layer_scale_init_value=scale).eval()
    net.load_state_dict(renamed(theirs.state_dict(), [
        (r'patch_embed\.proj', 'patch_embed.projection'), ('norm_pre', 'pre_norm'), ('^blocks', 'layers'), (r'\.norm(\d)', r'.ln\1'),
        (r'ls1\.gamma', 'attn.gamma1.weight'), (r'ls2\.gamma', 'ffn.gamma2.weight'), (r'mlp\.fc1', 'ffn.layers.0.0'),
        (r'mlp\.fc2', 'ffn.layers.1'), (r'^norm\.', 'ln1.')]))
    x = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        assert torch.allclose(net(x)[0], theirs.forward_features(x), atol=1e-5)


def test_vitpose_config_resolves_and_counts():
    with torch.device('meta'):
        net = MODELS.build(dict(type='mmpretrain.VisionTransformer', arch='base', drop_path_rate=.3, **VITPOSE))
    assert count_parameters(net) == 85_794_048 and net.layers[-1].drop_path.p == .3 and net.layers[0].drop_path.p == 0
    assert net.pos_embed.shape == (1, 16 * 12, 768)
    assert list(net.state_dict())[:4] == ['pos_embed', 'patch_embed.projection.weight', 'patch_embed.projection.bias', 'layers.0.ln1.weight']
    # by hand: patches, four linear layers for each of 192 tokens, and two products of attention
    by_hand = 192 * 768 * 768 + 12 * (192 * 768 * 768 * 12 + 2 * 192**2 * 768)
    assert count_macs(net, (192, 256)) == by_hand


@pytest.mark.parametrize('size, class_token', [((14, 14), True), ((14, 14), False), ((16, 12), True), ((24, 18), False)])
def test_positions_of_another_size_are_resized_on_loading(size, class_token):
    source = shaken(VisionTransformer(TINY, tuple(16 * s for s in size), with_cls_token=class_token, out_type='featmap'))
    net = VisionTransformer(TINY, **VITPOSE)
    state = {f'backbone.{k}': v for k, v in source.state_dict().items() if k != 'cls_token'}
    before = {k: v.clone() for k, v in state.items()}
    inner = nn.ModuleDict(dict(backbone=net))
    inner.load_state_dict(state)
    by_torch = net.pos_embed.detach().clone()
    nn.init.zeros_(net.pos_embed)
    assert load_checkpoint(inner, state).ok and torch.equal(net.pos_embed, by_torch)
    assert all(torch.equal(v, before[k]) for k, v in state.items()), 'the checkpoint stays as it was'
    if size == (16, 12):
        assert torch.equal(by_torch, source.pos_embed[:, 1:])
    state['backbone.pos_embed'] = torch.zeros(1, 11, 32)  # no grid
    with pytest.raises(RuntimeError, match='size mismatch for backbone.pos_embed'):
        inner.load_state_dict(state)
    with pytest.raises(CheckpointMismatchError, match='pos_embed'):
        load_checkpoint(inner, state)


@pytest.mark.parametrize('kwargs, text', [
    (dict(arch='tiny'), 'arch'), (dict(arch=dict(embed_dims=8)), 'arch'), (dict(out_type='map'), 'out_type'),
    (dict(with_cls_token=False), 'with_cls_token'), (dict(out_indices=3), 'out_indices'), (dict(frozen_stages=4), 'frozen_stages'),
    (dict(layer_cfgs=[{}]), 'layer_cfgs'), (dict(img_size=8, patch_cfg=dict(padding=0)), 'larger input'),
    (dict(img_size=(1, 2, 3)), r'\(h, w\)'), (dict(patch_cfg=dict(padding='valid')), 'padding')])
def test_vit_names_wrong_arguments(kwargs, text):
    with pytest.raises(ValueError, match=text):
        VisionTransformer(**{'arch': TINY, **kwargs})


def test_vit_outputs_and_layer_cfgs():
    net = VisionTransformer(TINY, 64, out_indices=(0, -1), out_type='avg_featmap', final_norm=False,
                            layer_cfgs=dict(act_cfg=dict(type='ReLU'), num_fcs=3)).eval()
    assert [m.shape for m in net(torch.randn(2, 3, 80, 50))] == [(2, 32)] * 2  # another input size, not a multiple of 16
    assert 'layers.0.ffn.layers.2.weight' in net.state_dict() and 'ln1.weight' not in net.state_dict()
    a = VisionTransformer(TINY, 64, out_indices=[0, 1], out_type='featmap')
    assert len(a(torch.randn(1, 3, 64, 64))) == 2


def test_vit_freezing_goes_layer_by_layer():
    for frozen, want in ((-1, set()), (0, {'cls_token', 'pos_embed', 'patch_embed'}),
                         (2, {'cls_token', 'pos_embed', 'patch_embed', 'layers.0', 'layers.1'})):
        net = VisionTransformer(TINY, 64, frozen_stages=frozen, drop_rate=.1).train()
        still = {re.sub(r'^(layers\.\d|\w+).*', r'\1', n) for n, p in net.named_parameters() if not p.requires_grad}
        assert still == want and net.layers[0].training == (frozen < 1)
    assert not any(p.requires_grad for p in VisionTransformer(TINY, 64, frozen_stages=3).parameters())


# Swin: torchvision's weights under the names of the release, through our converter

TORCHVISION_SWIN = [(r'^features\.0\.0', 'patch_embed.proj'), (r'^features\.0\.2', 'patch_embed.norm'),
                    (r'^features\.([1357])\.(\d)', lambda m: f'layers.{int(m[1]) // 2}.blocks.{m[2]}'),
                    (r'^features\.([246])', lambda m: f'layers.{int(m[1]) // 2 - 1}.downsample'), (r'mlp\.0', 'mlp.fc1'), (r'mlp\.3', 'mlp.fc2')]


@pytest.mark.parametrize('side', [64, 72, 60])  # the last maps are 8, 9 (padded), 7.5 (padded twice)
def test_swin_equals_torchvisions(side):
    import torchvision
    theirs = shaken(torchvision.models.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [3, 3], mlp_ratio=2))
    net = SwinTransformer(embed_dims=8, depths=(2, 2), num_heads=(2, 4), window_size=3, mlp_ratio=2, out_indices=(0, 1), strides=(4, 2),
                          convert_weights=True).eval()
    state = renamed(theirs.state_dict(), TORCHVISION_SWIN)
    state['layers.0.blocks.1.attn_mask'] = torch.zeros(3)  # what releases hold besides
    for key in [k for k in state if k.endswith('position_index')]:
        state[key] = state[key].view(9, 9)
    for i in (0, 1):  # norms of the outputs, which no release has
        for end in ('weight', 'bias'):
            state[f'norm{i}.{end}'] = getattr(theirs.norm, end)[:8 * 2**i]
    assert load_checkpoint(net, state).ok
    net.load_state_dict(state)
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        maps = theirs.features[:2](x), theirs.features(x)
        for i, m in enumerate(maps):
            want = getattr(net, f'norm{i}')(m).permute(0, 3, 1, 2)
            assert torch.allclose(net(x)[i], want, atol=1e-5)


def test_swin_checkpoint_of_another_window_and_size():
    small, large = (SwinTransformer(32 * w // 2, embed_dims=8, depths=(1, 1), num_heads=(2, 4), window_size=w, strides=(4, 2),
                                    out_indices=(0, 1), use_abs_pos_embed=True) for w in (4, 6))
    large.load_state_dict(shaken(small).state_dict())
    table = large.stages[0].blocks[0].attn.w_msa.relative_position_bias_table
    old = small.stages[0].blocks[0].attn.w_msa.relative_position_bias_table
    assert table.shape == (11 * 11, 2) and torch.equal(table, resize_bias_table(old, 121))
    assert torch.allclose(table[60], old[24], atol=1e-6), 'no offset: the middle of both'
    assert large.absolute_pos_embed.shape == (1, 24 * 24, 8)
    assert large.stages[0].blocks[0].attn.w_msa.relative_position_index.shape == (36, 36)
    assert small(torch.randn(1, 3, 50, 70))[0].shape == (1, 8, 13, 18)
    assert convert_swin({'head.weight': 0, 'norm.bias': 0}) == {}


@pytest.mark.parametrize('kwargs, text', [
    (dict(patch_size=2), 'patch_size'), (dict(num_heads=(3, 6)), 'num_heads'), (dict(out_indices=(4, )), 'out_indices'),
    (dict(num_heads=(5, 6, 12, 24)), 'num_heads'), (dict(frozen_stages=5), 'frozen_stages')])
def test_swin_names_wrong_arguments(kwargs, text):
    with pytest.raises(ValueError, match=text):
        SwinTransformer(embed_dims=24, **kwargs)


# PVT

def to_pvt_release(state, first_block):
    """Our state_dict with the names, and the split tensors, of the authors' release."""
    state = renamed(state, [
        (r'^layers\.(\d)\.0\.(\w+)', lambda m: f'patch_embed{int(m[1]) + 1}.{m[2].replace("projection", "proj")}'),
        (r'^layers\.(\d)\.1\.0\.pos_embed', lambda m: f'pos_embed{int(m[1]) + 1}'),
        (r'^layers\.(\d)\.1\.(\d)', lambda m: f'block{int(m[1]) + 1}.{int(m[2]) - first_block}'),
        (r'^layers\.(\d)\.2', lambda m: f'norm{int(m[1]) + 1}'), (r'attn\.attn\.out_proj', 'attn.proj'),
        (r'ffn\.layers\.0', 'mlp.fc1'), (r'ffn\.layers\.[34]', 'mlp.fc2'), (r'ffn\.layers\.1', 'mlp.dwconv.dwconv')])
    for key in [k for k in state if 'in_proj' in k]:
        q, k, v = state.pop(key).chunk(3)
        end = key.split('_')[-1]
        base = key.split('attn.attn')[0]
        state[f'{base}attn.q.{end}'], state[f'{base}attn.kv.{end}'] = q, torch.cat([k, v])
    return {k: v[..., 0, 0] if re.search(r'fc\d\.weight', k) else v for k, v in state.items()}


PVT_TINY = dict(embed_dims=8, num_layers=(1, 2, 1, 1), mlp_ratios=(2, 2, 2, 2))


@pytest.mark.parametrize('cls, first', [(PVT, 1), (PVTv2, 0)])
def test_pvt_release_round_trip(cls, first):
    a, b = shaken(cls(**PVT_TINY)), cls(**PVT_TINY).eval()
    state = to_pvt_release(a.state_dict(), first)
    state.update(cls_token=torch.zeros(1, 1, 64), **{'norm.weight': torch.zeros(64), 'head.weight': torch.zeros(5, 64)})
    if first:  # the last stage of the classifier has a class token
        state['pos_embed4'] = torch.cat([torch.full((1, 1, 64), 9.), state['pos_embed4']], 1)
    assert load_checkpoint(b, state).ok
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert all(torch.equal(m, n) for m, n in zip(a(x), b(x)))
    with pytest.raises(CheckpointMismatchError):
        load_checkpoint(cls(convert_weights=False, **PVT_TINY), state)


def test_pvt2_equals_timms():
    timm = pytest.importorskip('timm')
    theirs = shaken(timm.models.pvt_v2.PyramidVisionTransformerV2(
        num_classes=0, embed_dims=(8, 16, 40, 64), depths=(1, 2, 1, 1), num_heads=(1, 2, 5, 8), mlp_ratios=(2, 2, 2, 2)))
    state = renamed(theirs.state_dict(), [
        (r'^patch_embed', 'patch_embed1'), (r'^stages\.(\d)\.downsample', lambda m: f'patch_embed{int(m[1]) + 1}'),
        (r'^stages\.(\d)\.blocks', lambda m: f'block{int(m[1]) + 1}'), (r'^stages\.(\d)\.norm', lambda m: f'norm{int(m[1]) + 1}'),
        (r'mlp\.dwconv', 'mlp.dwconv.dwconv')])
    net = PVTv2(**PVT_TINY).eval()
    net.load_state_dict(state)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.allclose(net(x)[-1], theirs.forward_features(x), atol=1e-4)


def test_pvt_positions_follow_the_input_and_the_checkpoint():
    small, large = PVT(pretrain_img_size=64, **PVT_TINY), PVT(pretrain_img_size=128, **PVT_TINY)
    large.load_state_dict(shaken(small).state_dict())
    assert large.layers[0][1][0].pos_embed.shape == (1, 32 * 32, 8)
    assert [m.shape[2:] for m in small.eval()(torch.randn(1, 3, 70, 97))] == [(17, 24), (8, 12), (4, 6), (2, 3)]


def test_pvt_without_positions_is_made_for_any_size():
    for net in (PVTv2(pretrain_img_size=64, **PVT_TINY), PVT(pretrain_img_size=16, use_abs_pos_embed=False, **PVT_TINY)):
        assert not any('pos_embed' in k for k in net.state_dict())
        assert net.eval()(torch.randn(1, 3, 64, 64))[-1].shape == (1, 64, 2, 2)
    with pytest.raises(ValueError, match='pretrain_img_size'):
        PVT(pretrain_img_size=16, **PVT_TINY)


@pytest.mark.parametrize('cls, kwargs, text', [
    (PVT, dict(num_layers=(1, 1)), 'num_layers'), (PVTv2, dict(sr_ratios=(8, 4)), 'sr_ratios'), (PVT, dict(out_indices=(4, )), 'out_indices')])
def test_pvt_names_wrong_arguments(cls, kwargs, text):
    with pytest.raises(ValueError, match=text):
        cls(**kwargs)
    with pytest.raises(TypeError):
        cls(depths=(1, 1, 1, 1))
    with pytest.raises(ValueError, match='larger input'):
        PVTv2(**PVT_TINY)(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize('build, millions', [  # without the classifier, from the papers' tables with it
    (lambda: SwinTransformer(), 28.3 - .769 + .0016), (lambda: PVT(num_layers=(2, 2, 2, 2)), 13.2 - .513), (lambda: PVT(), 24.5 - .513),
    (lambda: PVTv2(embed_dims=32, num_layers=(2, 2, 2, 2)), 3.7 - .257), (lambda: PVTv2(mlp_ratios=(8, 8, 4, 4)), 25.4 - .513),
    (lambda: VisionTransformer('l'), 304.), (lambda: VisionTransformer('h', patch_size=14), 632.)])
def test_published_numbers_of_parameters(build, millions):
    with torch.device('meta'):
        assert count_parameters(build()) / 1e6 == pytest.approx(millions, rel=.004, abs=.06)
