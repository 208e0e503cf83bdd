"""Heads: what holds for every one of them, and whether each can learn."""
import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from overfit import INPUT_SIZE, overfit
from posebook.codecs import MSRAHeatmap
from posebook.models import BaseHead, BaseHeatmapHead, get_simcc_normalized
from posebook.models.heads.base import to_numpy
from posebook.models.tta import average
from posebook.registry import KEYPOINT_CODECS, MODELS
from posebook.structures import InstanceData, MultilevelPixelData, PixelData, PoseDataSample

FLIP = [0, 2, 1, 4, 3]
K, C = len(FLIP), 8
INPUT, MAP = (48, 64), (12, 16)  # (w, h)
MSRA = dict(type='MSRAHeatmap', input_size=INPUT, heatmap_size=MAP, sigma=1.5)
UDP = dict(MSRA, type='UDPHeatmap')
LABEL = dict(type='RegressionLabel', input_size=INPUT)
INTEGRAL = dict(MSRA, type='IntegralRegressionLabel')
MAPS = dict(in_channels=C, in_featuremap_size=MAP, num_joints=K, deconv_out_channels=None,
            decoder=INTEGRAL)

MEGVII = [dict(type='MegviiHeatmap', input_size=INPUT, heatmap_size=MAP, kernel_size=k) for k in (5, 3)]
BINS = dict(type='SimCCLabel', input_size=INPUT, sigma=4., simcc_split_ratio=2.)
ROWS = dict(in_channels=C, out_channels=K, input_size=INPUT, in_featuremap_size=(6, 8), decoder=BINS)

# name: (config, shape of the features of one picture, in lists where there are several)
HEADS = {
    'heatmap': (dict(type='HeatmapHead', in_channels=C, out_channels=K, deconv_out_channels=None,
                     decoder=MSRA), (C, 16, 12)),
    'heatmap-deconv': (dict(type='HeatmapHead', in_channels=C, out_channels=K,
                            deconv_out_channels=(6, 4), deconv_kernel_sizes=(4, 3),
                            conv_out_channels=(4, ), conv_kernel_sizes=(3, ), decoder=MSRA), (C, 4, 3)),
    'heatmap-udp': (dict(type='HeatmapHead', in_channels=C, out_channels=K, deconv_out_channels=None,
                         decoder=UDP), (C, 16, 12)),
    'heatmap-combined': (dict(type='HeatmapHead', in_channels=C, out_channels=3 * K,
                              deconv_out_channels=None, decoder=dict(UDP, heatmap_type='combined'),
                              loss=dict(type='CombinedTargetMSELoss', use_target_weight=True)), (C, 16, 12)),
    'regression': (dict(type='RegressionHead', in_channels=C, num_joints=K, decoder=LABEL), (C, )),
    'rle': (dict(type='RLEHead', in_channels=C, num_joints=K, decoder=LABEL), (C, 1, 1)),
    'integral': (dict(type='IntegralRegressionHead', **MAPS), (C, 16, 12)),
    'integral-exact': (dict(type='IntegralRegressionHead', debias='exact', beta=2., **MAPS), (C, 16, 12)),
    'integral-deconv': (dict(type='IntegralRegressionHead', **dict(
        MAPS, in_featuremap_size=(3, 4), deconv_out_channels=(6, 4), deconv_kernel_sizes=(4, 2))), (C, 4, 3)),
    'dsnt': (dict(type='DSNTHead', **MAPS), (C, 16, 12)),
    'cpm': (dict(type='CPMHead', in_channels=C, out_channels=K, num_stages=3, decoder=MSRA), [(C, 16, 12)] * 3),
    'mspn': (dict(type='MSPNHead', num_stages=3, num_units=2, out_shape=(16, 12), unit_channels=C, out_channels=K,
                  use_prm=True, level_indices=[0, 0, 0, 1, 0, 1], decoder=MEGVII[1]), [[(C, 8, 6), (C, 16, 12)]] * 3),
    'vipnas': (dict(type='ViPNASHead', in_channels=C, out_channels=K, deconv_out_channels=(6, 4), deconv_kernel_sizes=(4, 4),
                    deconv_num_groups=(2, 2), decoder=MSRA), (C, 4, 3)),
    'simcc': (dict(type='SimCCHead', deconv_out_channels=None, **ROWS), (C, 8, 6)),
    'simcc-vipnas': (dict(type='SimCCHead', deconv_type='vipnas', deconv_out_channels=(4, ), deconv_kernel_sizes=(4, ),
                          deconv_num_groups=(2, ), **ROWS), (C, 8, 6)),
    'rtmcc': (dict(type='RTMCCHead', final_layer_kernel_size=7, **ROWS, gau_cfg=dict(
        hidden_dims=16, s=8, act_fn='SiLU', use_rel_bias=True, pos_enc=True)), (C, 8, 6)),
}
each_head = pytest.mark.parametrize('name', HEADS)


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """Networks this small are faster on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_head(name, seed=0, **replace):
    torch.manual_seed(seed)
    head = MODELS.build(dict(HEADS[name][0], **replace)).eval()
    with torch.no_grad():  # awake: initial weights are so small that all answers are alike
        for p in head.parameters():
            if p.ndim > 1 and p.std() < .1:
                p.normal_(0, .3)
    return head


def make_feats(name, count, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def make(shape):
        if isinstance(shape, list):
            return [make(one) for one in shape]
        return torch.randn(count, *shape, generator=generator)
    shape = HEADS[name][1]
    return make(shape) if isinstance(shape, list) else (make(shape), )


def make_samples(name, count, seed=0, weight=None, keypoints=None):
    """Data samples with the targets of the head's codec; of one codec for each level with MSPN."""
    codecs = [KEYPOINT_CODECS.build(c) for c in (MEGVII if name == 'mspn' else [HEADS[name][0]['decoder']])]
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        points = rng.uniform(4, [43, 59], (1, K, 2)) if keypoints is None else keypoints
        encoded = [{k: torch.from_numpy(v) for k, v in c.encode(points.astype(np.float32)).items() if isinstance(v, np.ndarray)} for c in codecs]
        sample = PoseDataSample(metainfo=dict(flip_indices=FLIP, input_size=INPUT))
        labels = {k: encoded[0][k] for k in codecs[0].label_mapping_table}
        fields = {k: encoded[0][k] for k in codecs[0].field_mapping_table}
        sample.gt_fields = PixelData(**fields)
        if len(codecs) > 1:
            labels['keypoint_weights'] = torch.stack([e['keypoint_weights'] for e in encoded])
            sample.gt_fields = MultilevelPixelData(heatmaps=[e['heatmaps'] for e in encoded])
        if weight is not None:
            labels['keypoint_weights'] = torch.full_like(labels['keypoint_weights'], weight)
        sample.gt_instance_labels = InstanceData(**labels)
        samples.append(sample)
    return samples


def test_cfg(name, **more):
    mode = 'udp_combined' if 'combined' in name else 'heatmap'
    return dict(flip_test=True, flip_mode=mode, **more)


test_cfg.__test__ = False  # MMPose's name for it, and no test


# ------------------------------------------------------------------ what every head promises
@each_head
@pytest.mark.parametrize('count', [1, 3])
def test_predict_gives_one_instance_for_each_picture(name, count):
    head, feats, samples = make_head(name), make_feats(name, count), make_samples(name, count)
    for found in (head.predict(feats, samples),
                  head.predict([feats, feats], samples, test_cfg(name))):
        assert len(found) == count
        for instance in found:
            assert instance.keypoints.shape == (1, K, 2) and instance.keypoint_scores.shape == (1, K)
            assert np.isfinite(instance.keypoints).all()


@each_head
def test_an_empty_batch_predicts_nothing(name):
    head = make_head(name)
    assert head.predict(tree_map(lambda f: f[:0], make_feats(name, 1)), []) == []


@each_head
def test_loss_is_a_scalar_that_teaches_and_accuracy_one_that_does_not(name):
    head, feats, samples = make_head(name), make_feats(name, 2), make_samples(name, 2)
    losses = head.loss(feats, samples)
    assert list(losses) == ['loss_kpt', 'acc_pose']
    assert losses['loss_kpt'].shape == losses['acc_pose'].shape == ()
    assert losses['loss_kpt'].requires_grad and not losses['acc_pose'].requires_grad
    losses['loss_kpt'].backward()
    learned = [p for p in head.parameters() if p.requires_grad]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)
    assert list(head.loss(feats, samples, dict(compute_acc=False))) == ['loss_kpt']


@each_head
def test_a_flip_test_of_a_mirror_symmetric_network_changes_nothing(name, monkeypatch):
    """`flip_back` undoes itself (without a shift), so it also makes what such a network would say."""
    head, feats, samples = make_head(name), make_feats(name, 2), make_samples(name, 2)
    plain = head.final_outputs(head.forward(feats))
    cfg, meta = test_cfg(name), samples[0].metainfo
    mirrored = head.flip_back(plain, meta, cfg)
    assert not torch.allclose(torch.cat([o.flatten() for o in _flat(plain)]),
                              torch.cat([o.flatten() for o in _flat(mirrored)]))
    monkeypatch.setattr(head, 'forward', lambda said: said)
    monkeypatch.setattr(head, 'final_outputs', lambda outputs: outputs)
    once = head.predict(plain, samples)
    twice = head.predict([plain, mirrored], samples, cfg)
    for a, b in zip(once, twice):
        assert np.allclose(a.keypoints, b.keypoints, atol=1e-3)
        assert np.allclose(a.keypoint_scores, b.keypoint_scores, atol=1e-5)


@each_head
def test_what_is_right_about_the_mirror_image_is_right_when_turned_back(name):
    """The last test cannot see an axis turned too much, or a swap left out: both undo themselves."""
    points = np.array([[[8, 10], [20, 50], [40, 20], [30, 36], [13, 28]]], float)
    head = make_head(name)
    seen, = make_samples(name, 1, keypoints=(points * [-1, 1] + [INPUT[0] - 1, 0])[:, FLIP])
    said, _ = head.targets([seen])
    if name in ('cpm', 'mspn'):
        said = said[-1]  # the last answer
    elif name == 'rle':
        said = torch.cat([said, torch.full_like(said, .1)], -1)
    elif name.startswith('integral'):
        said = said, torch.zeros(1, K, 16, 12)
    found, = head.decode(head.flip_back(said, seen.metainfo, test_cfg(name)))
    assert np.abs(found.keypoints - points).max() < 9  # the grid of the maps and its borders, a shift not asked for


def test_the_maps_of_an_integral_head_are_turned_back_too():
    maps = torch.rand(1, K, 16, 12)
    meta = dict(flip_indices=FLIP, input_size=INPUT)
    _, back = make_head('integral').flip_back((torch.zeros(1, K, 2), maps), meta, {})
    assert torch.equal(back, maps.flip(-1)[:, FLIP])


def _flat(outputs):
    return outputs if isinstance(outputs, (tuple, list)) else [outputs]


@each_head
def test_predict_leaves_its_arguments_as_they_are(name):
    head, feats, samples = make_head(name), make_feats(name, 2), make_samples(name, 2)
    before, cfg = copy.deepcopy(feats), test_cfg(name)
    once = head.predict([feats, feats], samples, cfg)
    again = head.predict([feats, feats], samples, cfg)
    assert all(map(torch.equal, tree_leaves(before), tree_leaves(feats))) and cfg == test_cfg(name)
    assert all(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(once, again))


@each_head
@settings(max_examples=4)
@given(seed=st.integers(0, 2**16))
def test_zero_weights_mean_zero_loss_and_zero_gradient_even_with_nan(name, seed):
    head, feats = make_head(name, seed), make_feats(name, 2, seed)
    samples = make_samples(name, 2, seed, weight=0)
    for sample in samples:
        for drawer in (sample.gt_fields, sample.gt_instance_labels):
            for key in drawer.keys():
                if key != 'keypoint_weights':
                    tree_map(lambda t: t.fill_(float('nan')), drawer.get(key))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        losses = head.loss(feats, samples)
    assert any('no keypoint in this batch' in str(w.message) for w in caught)
    assert losses['loss_kpt'] == 0 and losses['acc_pose'] == 0
    losses['loss_kpt'].backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in head.parameters())


@each_head
def test_a_masked_nan_changes_nothing_for_the_others(name):
    head, feats, samples = make_head(name), make_feats(name, 2), make_samples(name, 2)
    for sample in samples:
        sample.gt_instance_labels.keypoint_weights[..., 1] = 0
    wanted = head.loss(feats, samples)
    for sample in samples:
        for maps in tree_leaves(sample.gt_fields.get('heatmaps', [])):
            n = len(maps) // K
            maps[n:2 * n] = float('nan')
        for key, label in sample.gt_instance_labels.items():
            if key != 'keypoint_weights':
                label[0, 1] = float('nan')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        got = head.loss(feats, samples)
    assert torch.equal(wanted['loss_kpt'], got['loss_kpt'])
    assert wanted['acc_pose'] == got['acc_pose']


@each_head
@settings(max_examples=4)
@given(seed=st.integers(0, 2**16), order=st.permutations(range(4)))
def test_the_order_of_a_batch_does_not_matter(name, seed, order):
    head, feats, samples = make_head(name, seed), make_feats(name, 4, seed), make_samples(name, 4, seed)
    mixed_feats, mixed = tree_map(lambda f: f[list(order)], feats), [samples[i] for i in order]
    for key, value in head.loss(feats, samples).items():
        assert torch.allclose(value, head.loss(mixed_feats, mixed)[key], rtol=1e-4, atol=1e-6), key
    cfg = test_cfg(name)
    found = head.predict([feats, feats], samples, cfg)
    for i, instance in zip(order, head.predict([mixed_feats, mixed_feats], mixed, cfg)):
        assert np.allclose(instance.keypoints, found[i].keypoints, atol=1e-3)


@each_head
def test_autocast_gives_finite_losses(name):
    head, feats, samples = make_head(name), make_feats(name, 2), make_samples(name, 2)
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss(feats, samples)
        found = head.predict(feats, samples)
    assert all(torch.isfinite(v) for v in losses.values())
    assert np.isfinite(found[0].keypoints).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@each_head
def test_half_precision_on_a_gpu_gives_finite_losses(name):
    head = make_head(name).cuda()
    feats = tree_map(torch.Tensor.cuda, make_feats(name, 2))
    samples = [s.to('cuda') for s in make_samples(name, 2)]
    with torch.autocast('cuda', torch.float16):
        losses = head.loss(feats, samples)
    losses['loss_kpt'].float().backward()
    assert all(torch.isfinite(v) for v in losses.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in head.parameters())
    half = head.half()
    with torch.no_grad():
        losses = half.loss(tree_map(torch.Tensor.half, feats), samples)
    assert torch.isfinite(losses['loss_kpt'])
    assert np.isfinite(half.predict(tree_map(torch.Tensor.half, feats), samples)[0].keypoints).all()


@each_head
def test_a_state_dict_goes_from_one_head_to_another(name):
    head, other = make_head(name), make_head(name, seed=1)
    other.load_state_dict(head.state_dict(), strict=True)
    feats, samples = make_feats(name, 1), make_samples(name, 1)
    assert np.array_equal(head.predict(feats, samples)[0].keypoints,
                          other.predict(feats, samples)[0].keypoints)


# ------------------------------------------------------------------------- what goes wrong
@each_head
def test_missing_targets_say_which_codec_writes_them(name):
    head, feats = make_head(name), make_feats(name, 1)
    with pytest.raises(ValueError, match='GenerateTarget') as e:
        head.loss(feats, [PoseDataSample()])
    assert HEADS[name][0]['decoder']['type'] in str(e.value)
    with pytest.raises(ValueError, match='at least one data sample'):
        head.loss(tree_map(lambda f: f[:0], feats), [])


@each_head
def test_predict_says_what_it_lacks(name):
    head, feats, samples = make_head(name), make_feats(name, 1), make_samples(name, 1)
    with pytest.raises(ValueError, match='list of two'):
        head.predict(feats, samples, test_cfg(name))
    with pytest.raises(ValueError, match='flip_indices'):
        head.predict([feats, feats], [PoseDataSample()], test_cfg(name))
    with pytest.raises(ValueError, match='needs a decoder'):
        make_head(name, decoder=None).predict(feats, samples)
    wrong = PoseDataSample(metainfo=dict(flip_indices=[0, 1], input_size=INPUT))
    with pytest.raises(ValueError, match='permutation of 0..4'):
        head.predict([feats, feats], [wrong], test_cfg(name))


def test_maps_of_another_size_or_number_than_the_targets():
    samples = make_samples('heatmap', 1)
    for shape, hint in (((1, C, 32, 24), 'heatmap_size'), ((1, C, 12, 16), 'Did you swap w and h')):
        with pytest.raises(ValueError, match=hint):
            make_head('heatmap').loss((torch.zeros(shape), ), samples)
    with pytest.raises(ValueError, match='number of keypoints'):
        make_head('heatmap', out_channels=7).loss(make_feats('heatmap', 1), samples)
    with pytest.raises(ValueError, match='number of keypoints'):
        make_head('regression', num_joints=7).loss(make_feats('regression', 1), make_samples('regression', 1))


@pytest.mark.parametrize('kind', ['RegressionHead', 'RLEHead'])
def test_maps_into_a_regression_head_need_a_pool(kind):
    head = MODELS.build(dict(type=kind, in_channels=C, num_joints=K))
    with pytest.raises(ValueError, match='GlobalAveragePooling'):
        head((torch.zeros(1, C, 8, 6), ))
    assert head((torch.zeros(2, 3), torch.zeros(2, C, 1, 1)))[..., :2].shape == (2, K, 2)  # the last one is read
    with pytest.raises(ValueError, match='in_channels'):
        MODELS.build(dict(type=kind, in_channels=[C], num_joints=K))


@pytest.mark.parametrize('kind', ['IntegralRegressionHead', 'DSNTHead'])
def test_integral_heads_refuse_what_does_not_fit(kind):
    def build(**more):
        return MODELS.build(dict(MAPS, type=kind, **more))

    for error, more in (('debias', dict(debias='yes')), ('in_channels', dict(in_channels=(C, C))),
                        ('equally long', dict(deconv_out_channels=(4, 4), deconv_kernel_sizes=(4, ))),
                        ('double', dict(deconv_out_channels=(4, ), deconv_kernel_sizes=(1, )))):
        with pytest.raises(ValueError, match=error):
            build(**more)
    with pytest.raises(ValueError, match='swap'):
        build()((torch.zeros(1, C, 12, 16), ))
    with pytest.warns(UserWarning, match='no effect'):
        build(conv_out_channels=(4, ), conv_kernel_sizes=(3, ))
    assert build(final_layer=None)((torch.zeros(1, K, 16, 12), ))[0].shape == (1, K, 2)
    assert build(final_layer=dict(kernel_size=3, padding=1))((torch.zeros(1, C, 16, 12), ))[1].shape == (1, K, 16, 12)


# --------------------------------------------------------------------------------- details
@pytest.mark.parametrize('name, shifted', [('heatmap', True), ('heatmap-udp', False), ('dsnt', True)])
def test_auto_shift_asks_the_codec(name, shifted):
    head, samples = make_head(name), make_samples(name, 1)
    feats = [make_feats(name, 1, seed) for seed in (0, 1)]
    maps = {shift: head.predict(feats, samples, test_cfg(name, shift_heatmap=shift, output_heatmaps=True))[1][0].heatmaps
            for shift in (True, False, 'auto')}
    assert torch.equal(maps['auto'], maps[shifted]) and not torch.equal(maps[True], maps[False])
    with pytest.raises(ValueError, match="'auto'"):
        head.predict(feats, samples, test_cfg(name, shift_heatmap='yes'))


def test_output_heatmaps_are_what_was_decoded():
    for name in ('heatmap', 'integral', 'dsnt'):
        head, feats, samples = make_head(name), make_feats(name, 2), make_samples(name, 2)
        instances, fields = head.predict(feats, samples, dict(output_heatmaps=True))
        assert len(instances) == len(fields) == 2
        assert fields[0].heatmaps.shape == (K, 16, 12) and not fields[0].heatmaps.requires_grad
    with pytest.raises(ValueError, match='no heatmaps'):
        make_head('rle').predict(make_feats('rle', 1), make_samples('rle', 1), dict(output_heatmaps=True))


def test_a_bias_of_the_background_is_taken_out_exactly():
    logits = torch.zeros(1, K, 16, 12)
    logits[..., 3, 10] = 4.
    truth = torch.tensor([10 / 12, 3 / 16])
    for beta in (1., 1.5):
        head = make_head('integral', final_layer=None, debias='exact', beta=beta)
        assert torch.allclose(head((logits, ))[0], truth, atol=1e-4)
        assert not torch.allclose(make_head('integral', final_layer=None, beta=beta)((logits, ))[0], truth, atol=.02)


@pytest.mark.parametrize('debias', [False, True, 'exact'])
@pytest.mark.parametrize('height', [-200., 0., 200., 1e4])
def test_logits_of_any_height_give_finite_coordinates_and_slopes(debias, height):
    if debias is True and height <= -200:
        pytest.skip("MMPose's formula has no answer there")
    logits = torch.zeros(1, K, 16, 12).fill_(min(height, 0.))
    logits[..., 3, 10] = height
    logits.requires_grad_()
    coords, _ = make_head('integral', final_layer=None, debias=debias)((logits, ))
    coords.sum().backward()
    assert torch.isfinite(coords).all() and torch.isfinite(logits.grad).all()


def test_lambda_t_stops_teaching_the_maps():
    head, feats, samples = make_head('dsnt', lambda_t=3), make_feats('dsnt', 2), make_samples('dsnt', 2)
    costs = []
    for epoch in range(5):
        head.set_epoch(epoch)
        costs.append(head.loss(feats, samples)['loss_kpt'].item())
    assert costs[0] == costs[1] == costs[2] > costs[3] == costs[4]
    head = make_head('dsnt')
    head.set_epoch(100)
    assert head.loss(feats, samples)['loss_kpt'].item() == costs[0]  # -1: never


def test_average_goes_into_what_is_nested_and_tells_lengths_apart():
    one = torch.ones(1)
    assert average((one, [one * 3]), (one * 3, [one * 5]))[1][0] == 4
    with pytest.raises(ValueError):
        average((one, one), (one, ))


def test_stages_learn_from_their_own_level_with_their_own_weights_and_loss():
    losses = [dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=float(i)) for i in range(6)]
    head, feats, samples = make_head('mspn', loss=losses), make_feats('mspn', 2), make_samples('mspn', 2)
    for sample in samples:
        sample.gt_instance_labels.keypoint_weights[1, :, 2] = 0  # out of reach of the sharp target only
    wanted = 0
    for i, (maps, level) in enumerate(zip(head(feats), (0, 0, 0, 1, 0, 1))):
        squares = (maps - torch.stack([s.gt_fields.heatmaps[level] for s in samples])).square()
        wanted += i * (squares[:, [0, 1, 3, 4]].sum() + (level == 0) * squares[:, 2].sum()) / squares.numel()
    assert torch.allclose(head.loss(feats, samples)['loss_kpt'], wanted)
    last = head(feats)[-1]
    assert np.array_equal(head.predict(feats, samples)[1].keypoints, head.decode(last)[1].keypoints)
    with pytest.raises(ValueError, match='each answer, 6; got 5'):
        make_head('mspn', loss=losses[1:])


def test_a_pose_refine_machine_has_the_published_entries():
    entries = {k[len('predict_layers.0.prm.'):]: tuple(v.shape) for k, v in make_head('mspn').state_dict().items()
               if k.startswith('predict_layers.0.prm.') and v.ndim > 1}
    assert entries == {
        'conv_bn_relu_prm_1.conv.weight': (K, K, 3, 3), 'middle_path.0.weight': (K, K), 'middle_path.3.weight': (K, K),
        'bottom_path.0.conv.weight': (K, K, 1, 1), 'bottom_path.1.depthwise_conv.conv.weight': (K, 1, 9, 9),
        'bottom_path.1.pointwise_conv.conv.weight': (1, K, 1, 1)}


@pytest.mark.parametrize('sigmoid', [True, False])
def test_visibility_is_a_probability_averaged_before_and_swapped(sigmoid):
    pose = dict(HEADS['heatmap'][0])
    torch.manual_seed(0)
    head = MODELS.build(dict(type='VisPredictHead', pose_cfg=pose, loss=dict(type='BCELoss', use_sigmoid=sigmoid),
                             init_cfg=dict(type='Normal', std=5., layer='Linear'))).eval()
    assert head.vis_head[2].weight.std() > 3 and head.pose_head.final_layer.weight.std() < .01  # init_cfg is of the layer
    feats, samples = [make_feats('heatmap', 2, seed) for seed in (0, 1)], make_samples('heatmap', 2)
    linear = [head.vis_head[2](f[0].mean((2, 3))) for f in feats]
    if sigmoid:
        wanted = (linear[0].sigmoid() + linear[1].sigmoid()[:, FLIP]) / 2
    else:
        wanted = ((linear[0] + linear[1][:, FLIP]) / 2).sigmoid()
    found, fields = head.predict(feats, samples, dict(flip_test=True, output_heatmaps=True))
    alone, _ = head.pose_head.predict(feats, samples, dict(flip_test=True, output_heatmaps=True))
    assert np.allclose([f.keypoints_visible[0] for f in found], wanted.detach(), atol=1e-5)
    assert np.array_equal(found[1].keypoints, alone[1].keypoints) and fields[0].heatmaps.shape == (K, 16, 12)

    samples[0].gt_instance_labels.keypoint_weights[0, 1] = 0
    losses = head.loss(feats[0], samples)
    labels = torch.cat([s.gt_instance_labels.keypoint_weights for s in samples])
    right = (linear[0] > 0) == (labels > 0)
    assert losses['acc_vis'] == right.float().mean() and list(losses) == ['loss_vis', 'acc_vis', 'loss_kpt', 'acc_pose']
    assert list(head.loss(feats[0], samples, dict(compute_acc=False))) == ['loss_vis', 'loss_kpt']


def test_simcc_rows_as_pictures():
    head, feats, samples = make_head('simcc'), make_feats('simcc', 2), make_samples('simcc', 2)
    rows = torch.zeros(1, K, 96), torch.zeros(1, K, 128)
    rows[0][..., 20], rows[0][..., 21], rows[0][..., 50], rows[1][..., 9] = 4., 2., -3., .5  # above 1: scaled; below 0: cut; between: as it is
    sigma, = set(head.decoder.sigma.tolist())  # a single one: labels were divided by sigma * sqrt(2 pi), drawn are rows that are divided by it too
    rows = [row * sigma * (2 * torch.pi)**.5 for row in rows]
    instances = head.decode(rows)
    fields = head.pred_fields(rows, instances)
    assert fields[0].heatmaps.shape == (K, 128, 96) and fields[0].heatmaps[2, 9, 20] == .5 and fields[0].heatmaps[2].sum() == .75
    assert instances[0].keypoint_x_labels.max() == 1 and instances[0].keypoint_y_labels.max() == .5
    assert np.allclose(instances[0].keypoints, [10, 4.5])
    assert head.predict(feats, samples, dict(output_heatmaps=True))[1][1].heatmaps.shape == (K, 128, 96)


def test_half_precision_gives_what_single_does():
    for name in ('simcc', 'rtmcc', 'integral', 'heatmap'):
        head, feats = make_head(name), make_feats(name, 2)
        half = copy.deepcopy(head).to(torch.bfloat16)
        for one, other in zip(_flat(head(feats)), _flat(half(tree_map(lambda f: f.to(torch.bfloat16), feats)))):
            assert (one - other.float()).abs().max() < .05 * one.abs().max()


def test_a_head_without_a_loss_says_so():
    with pytest.raises(ValueError, match='no loss to compute'):
        make_head('heatmap', loss=None).loss(make_feats('heatmap', 1), make_samples('heatmap', 1))


# ------------------------------------------------------------------------ a head of your own
class OwnMaps(BaseHeatmapHead):
    def __init__(self, channels, keypoints, decoder):
        super().__init__(dict(type='KeypointMSELoss', use_target_weight=True), decoder)
        self.out = nn.Conv2d(channels, keypoints, 1)

    def forward(self, feats):
        return self.out(feats[-1])


class OwnLoop:
    """A codec from outside that knows one sample at a time, with a visibility beside its scores."""

    def decode(self, maps):
        keypoints, scores = MSRAHeatmap((72, 96), (18, 24), sigma=1.5).decode(maps)
        return keypoints, (scores, scores > .2)


def test_a_users_head_of_a_few_lines_trains_and_predicts():
    codec = dict(type='MSRAHeatmap', input_size=INPUT_SIZE, heatmap_size=(18, 24), sigma=1.5)
    run = overfit(OwnMaps(8, 17, codec), codec, channels=8, steps=20, count=4, lr=1e-2)
    assert run.losses[-1] < .8 * run.losses[0]
    assert len(run.model.test_step(run.batch)) == 4


def test_a_codec_without_batches_and_with_visibility():
    head = OwnMaps(8, 17, OwnLoop())
    found = head.predict((torch.rand(3, 8, 24, 18), ), [])
    assert len(found) == 3 and found[0].keypoints.shape == (1, 17, 2)
    assert found[0].keypoint_scores.shape == found[0].keypoints_visible.shape == (1, 17)


def test_a_head_that_lacks_a_station_says_which():
    class Nothing(BaseHead):
        pass

    for call, name in ((lambda h: h(()), 'forward'), (lambda h: h.targets([]), 'targets'),
                       (lambda h: h.flip_back(0, {}, {}), 'flip_back'),
                       (lambda h: h.accuracy(0, 0, 0), 'accuracy')):
        with pytest.raises(NotImplementedError, match=f'Nothing must define {name}'):
            call(Nothing())


def test_arrays_are_float32_or_wider():
    assert to_numpy(torch.ones(1, dtype=torch.bfloat16)).dtype == np.float32
    assert to_numpy([torch.ones(1, dtype=torch.float64)])[0].dtype == np.float64


# -------------------------------------------------------------- training, not only the forward
FINE = dict(input_size=INPUT_SIZE, heatmap_size=(18, 24), sigma=1.5, unbiased=True)
POINTS = dict(type='RegressionLabel', input_size=INPUT_SIZE)
HEATMAPS, BOTH = dict(type='MSRAHeatmap', **FINE), dict(type='IntegralRegressionLabel', **FINE)
WHOLE = 32 * 5 * 6  # the deepest map of TinyBackbone, all of it
LEARNERS = {
    'heatmap': (dict(type='HeatmapHead', in_channels=32, out_channels=17, deconv_out_channels=None,
                     decoder=HEATMAPS), HEATMAPS, dict(steps=200)),
    'regression': (dict(type='RegressionHead', in_channels=WHOLE, num_joints=17, decoder=POINTS),
                   POINTS, dict(stride=16, steps=100)),
    'rle': (dict(type='RLEHead', in_channels=WHOLE, num_joints=17, decoder=POINTS),
            POINTS, dict(stride=16, steps=300)),
    'integral': (dict(type='IntegralRegressionHead', in_channels=32, in_featuremap_size=(18, 24),
                      num_joints=17, deconv_out_channels=None, decoder=BOTH), BOTH, dict(steps=250)),
    'dsnt': (dict(type='DSNTHead', in_channels=32, in_featuremap_size=(18, 24), num_joints=17,
                  deconv_out_channels=None, decoder=BOTH), BOTH, dict(steps=250)),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', LEARNERS)
def test_a_tiny_network_learns_sixteen_people_by_heart(name):
    head, codec, options = LEARNERS[name]
    run = overfit(head, codec, **options)
    assert run.pck > .95, f'{name}: PCK@0.05 {run.pck:.3f} after {len(run.losses)} steps'


# ------------------------------------------------------------------------------ rows of bins
@pytest.mark.parametrize('name', ['simcc', 'rtmcc'])
def test_bins_that_do_not_fit_are_named(name):
    """96 x 128 bins of the targets: 48 x 64 pixels, 2 bins each."""
    for replace, got in ((dict(simcc_split_ratio=3.), r'\[144, 192\]'), (dict(input_size=INPUT[::-1]), r'\[128, 96\]')):
        head = make_head(name, **replace)
        with pytest.raises(ValueError, match=r'of \[96, 128\] bins as the targets; got ' + got + r'.* simcc_split_ratio'):
            head.loss(make_feats(name, 1), make_samples(name, 1))


def test_simcc_says_that_it_drops_convolutions():
    with pytest.warns(UserWarning, match='conv_out_channels has no effect'):
        assert len(make_head('simcc', conv_out_channels=(4, ), conv_kernel_sizes=(3, )).state_dict()) == 6


@pytest.mark.parametrize('name', ['heatmap', 'regression', 'rle', 'integral', 'vipnas'])
def test_one_tensor_in_place_of_a_tuple_is_refused(name):
    """Its last would be the last picture, as a map without a batch."""
    with pytest.raises(TypeError, match='Put it into a tuple'):
        make_head(name)(make_feats(name, 2)[0])


def test_heads_accept_the_old_name_of_their_loss():
    head = MODELS.build(HEADS['rle'][0])
    new = head.state_dict()
    old = {k.replace('loss_module.', 'loss.'): v + 1 if v.is_floating_point() else v for k, v in new.items()}
    assert any(k.startswith('loss.flow_model.') for k in old)
    head.load_state_dict(old)
    assert all(torch.equal(v, old[k.replace('loss_module.', 'loss.')]) for k, v in head.state_dict().items())
    model = torch.nn.ModuleDict(dict(head=MODELS.build(HEADS['rle'][0])))  # below a prefix, as in a whole model
    model.load_state_dict({f'head.{k}': v for k, v in old.items()})
    assert torch.equal(model.state_dict()['head.fc.weight'], old['fc.weight'])


@pytest.mark.parametrize('name', ['heatmap', 'heatmap-deconv', 'integral', 'dsnt', 'cpm', 'mspn', 'vipnas', 'simcc',
                                  'simcc-vipnas', 'rtmcc', 'regression', 'rle'])
def test_features_of_another_width_are_named(name):
    cfg, shape = HEADS[name]

    def wider(s):
        return [wider(x) for x in s] if isinstance(s, list) else torch.randn(2, s[0] + 1, *s[1:])

    argument = 'unit_channels' if name == 'mspn' else 'in_channels'
    feats = wider(shape) if isinstance(shape, list) else (wider(shape), )
    with pytest.raises(ValueError, match=rf'^{cfg["type"]}: {argument} must be {C + 1}, .*; got {C}'):
        MODELS.build(cfg)(feats)


@pytest.mark.parametrize('name', ['simcc', 'rtmcc'])
def test_a_single_sigma_divides_the_rows_that_are_shown(name):
    one, two = ({**HEADS[name][0], 'decoder': {**HEADS[name][0]['decoder'], 'sigma': s}} for s in (3., (3., 4.)))
    head = MODELS.build(one)
    rows = torch.rand(2, K, 32), torch.rand(2, K, 40)
    shown = head.pred_fields(rows, [InstanceData(scores=np.zeros((1, K))) for _ in range(2)])
    wanted = [get_simcc_normalized(r, 3.) for r in rows]
    assert torch.allclose(shown[0].heatmaps, (wanted[1][..., None] * wanted[0][:, :, None])[0])
    assert torch.allclose(wanted[0], rows[0] / (3 * (2 * torch.pi)**.5))
    plain = MODELS.build(two).pred_fields(rows, [InstanceData(scores=np.zeros((1, K))) for _ in range(2)])
    assert torch.allclose(plain[0].heatmaps, (rows[1][..., None] * rows[0][:, :, None])[0])


@each_head
def test_a_head_is_initialised_again(name):
    head = MODELS.build(HEADS[name][0])
    found = []
    for _ in range(2):
        torch.manual_seed(7)
        assert head.init_weights() == {}
        found.append({k: v.clone() for k, v in head.state_dict().items()})
    assert all(torch.equal(v, found[1][k]) for k, v in found[0].items())


def test_a_decoder_must_decode():
    with pytest.raises(TypeError, match='HeatmapHead: decoder must be a codec'):
        MODELS.build(dict(type='HeatmapHead', in_channels=2, out_channels=3, decoder=[None]))
