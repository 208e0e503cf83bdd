"""Models beyond what their chapters test: checkpoint layouts, sizes, gradients, flips, refusals."""
import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from posebook.codecs import MSRAHeatmap
from posebook.models import (HeatmapHead, HRNet, KeypointMSELoss, PoseDataPreprocessor,
                             TopdownPoseEstimator, flip_heatmaps, from_official_state_dict,
                             hrnet_extra, to_official_state_dict)
from posebook.models.losses.heatmap_loss import heatmap_mask
from posebook.registry import MODELS
from posebook.structures import InstanceData, PixelData, PoseDataSample

FLIP = [0, 2, 1, 4, 3]
W, H = 64, 96  # input space, (w, h)


def tiny_hrnet(**kwargs):
    return HRNet(hrnet_extra(4, (1, 1, 1), 1, stem_width=8), **kwargs)


def codec():
    return MSRAHeatmap(input_size=(W, H), heatmap_size=(W // 4, H // 4), sigma=1.5)


def make_model(test_cfg=None, width=4, **head):
    torch.manual_seed(0)
    return TopdownPoseEstimator(
        HRNet(hrnet_extra(width, (1, 1, 1), 1, stem_width=8)),
        head=HeatmapHead(width, 5, deconv_out_channels=None, decoder=codec(), **head),
        data_preprocessor=PoseDataPreprocessor([120.] * 3, [60.] * 3, bgr_to_rgb=True),
        test_cfg=test_cfg)


def make_sample(seed=0):
    points = np.random.default_rng(seed).uniform(8, [W - 9, H - 9], (1, 5, 2)).astype(np.float32)
    encoded = codec().encode(points)
    sample = PoseDataSample(metainfo=dict(
        input_size=(W, H), input_center=np.array([40., 50.]), input_scale=np.array([128., 192.]),
        flip_indices=FLIP))
    sample.gt_instances = InstanceData(bboxes=np.array([[1., 2, 30, 40]], np.float32),
                                       bbox_scores=np.ones(1, np.float32))
    sample.gt_fields = PixelData(heatmaps=torch.from_numpy(encoded['heatmaps']))
    sample.gt_instance_labels = InstanceData(
        keypoint_weights=torch.from_numpy(encoded['keypoint_weights']))
    return sample


def make_batch(n=2):
    rng = np.random.default_rng(0)
    return dict(inputs=[torch.from_numpy(rng.integers(0, 256, (3, H, W), dtype=np.uint8))
                        for _ in range(n)], data_samples=[make_sample(i) for i in range(n)])


# ------------------------------------------------------------------------- checkpoints
@pytest.mark.parametrize('width, parameters', [(32, 28_536_113), (48, 63_595_745)])
def test_hrnet_has_the_published_size(width, parameters):
    with torch.device('meta'):
        model = TopdownPoseEstimator(HRNet(hrnet_extra(width)),
                                     head=HeatmapHead(width, 17, deconv_out_channels=None))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(model.state_dict()) == 1754


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
@settings(max_examples=25, deadline=None)
@given(h=st.integers(1, 200), w=st.integers(1, 200))
def test_hrnet_accepts_multiples_of_32_and_names_neighbours_of_the_rest(h, w):
    with torch.device('meta'):
        net, x = tiny_hrnet(), torch.zeros(1, 3, h, w)
    if h % 32 == 0 and w % 32 == 0:
        assert net(x)[0].shape == (1, 4, h // 4, w // 4)
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
    extra = hrnet_extra(4, (1, 1, 1), 1, stem_width=8)
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
        net(torch.zeros(1, 3, divisor * 2, divisor + 4 + divisor // 4))


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
    (dict(extra=dict(stage1={})), KeyError, 'num_modules'),
])
def test_hrnet_refuses(change, error, text):
    with pytest.raises(error, match=text):
        HRNet(**{'extra': hrnet_extra(4), **change})


def test_hrnet_from_the_registry_with_a_scope():
    net = MODELS.build(dict(type='mmpose.HRNet', extra=hrnet_extra(4, (1, 1, 1), 1),
                            init_cfg=dict(type='Pretrained', checkpoint='https://x.org/a.pth')))
    assert isinstance(net, HRNet) and 0 < net.conv1.weight.std() < 0.002


# -------------------------------------------------------------------------------- loss
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), with_weights=st.booleans(), with_mask=st.booleans(),
       skip=st.booleans())
def test_loss_equals_a_loop(seed, with_weights, with_mask, skip):
    rng = np.random.default_rng(seed)
    out, target = rng.normal(size=(2, 2, 3, 4, 5))
    target[rng.random((2, 3)) < .4] = 0
    weights = rng.random((2, 3)) if with_weights else None
    mask = rng.integers(0, 2, (2, 1, 4, 5)) if with_mask else None
    total = 0.
    for b, k, y, x in np.ndindex(out.shape):
        factor = 1 if weights is None else weights[b, k]
        factor *= 1 if mask is None else mask[b, 0, y, x]
        factor *= 0 if skip and not target[b, k].any() else 1
        total += factor * (out[b, k, y, x] - target[b, k, y, x])**2
    tensors = [None if v is None else torch.from_numpy(np.asarray(v, np.float64))
               for v in (out, target, weights, mask)]
    loss = KeypointMSELoss(skip_empty_channel=skip, loss_weight=3.)(*tensors)
    assert loss.item() == pytest.approx(3 * total / out.size)


@pytest.mark.parametrize('weights, mask', [
    (torch.ones(2, 4), None), (torch.ones(2, 3, 1), None), (None, torch.ones(4, 5)),
    (None, torch.ones(2, 1, 5, 4)), (torch.ones(3, 2), None)])
def test_mask_refuses_shapes_that_do_not_fit(weights, mask):
    with pytest.raises(ValueError, match='target'):
        heatmap_mask(torch.zeros(2, 3, 4, 5), weights, mask)


# -------------------------------------------------------------------------------- head
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 4), shift=st.booleans(),
       mode=st.sampled_from(['heatmap', 'udp_combined', 'offset']))
def test_flipping_twice_gives_the_maps_back(seed, k, shift, mode):
    rng = np.random.default_rng(seed)
    channels = k * dict(heatmap=1, udp_combined=3, offset=2)[mode]
    maps = torch.from_numpy(rng.normal(size=(2, channels, 3, 6)))
    order = np.arange(k)
    if k > 1:
        order[[0, 1]] = order[[1, 0]]
    before = maps.clone()
    once = flip_heatmaps(maps, order.tolist(), mode)
    assert torch.equal(flip_heatmaps(once, order.tolist(), mode), maps)
    if shift:
        moved = flip_heatmaps(maps, order.tolist(), mode, shift_heatmap=True)
        assert torch.equal(moved[..., 1:], once[..., :-1])
        assert torch.equal(moved[..., 0], once[..., 0])
    assert torch.equal(maps, before)


@pytest.mark.parametrize('kernel', [2, 3, 4])
def test_deconvolutions_double(kernel):
    head = HeatmapHead([8, 6], 5, (4, 4), (kernel, kernel), (3, ), (3, ),
                       final_layer=dict(kernel_size=3, padding=1))
    assert head((torch.zeros(0), torch.zeros(2, 6, 5, 3))).shape == (2, 5, 20, 12)


def test_loss_module_and_codec_may_be_unregistered_objects():
    class Half(nn.Module):
        def forward(self, output, target, weights):
            return torch.tensor(.5, requires_grad=True)

    head = HeatmapHead(5, 5, deconv_out_channels=None, loss=Half(), decoder=codec())
    assert head.loss((torch.zeros(1, 5, 24, 16), ), [make_sample()])['loss_kpt'] == .5


def test_maps_of_a_wrong_size_are_named():
    head = HeatmapHead(5, 5, (4, ), (4, ))
    with pytest.raises(ValueError, match='one shape'):
        head.loss((torch.zeros(1, 5, 24, 16), ), [make_sample()])


# --------------------------------------------------------------------------- estimator
def test_flip_test_is_equivariant():
    """The prediction for a mirrored crop is the mirrored prediction, left and right swapped."""
    model = make_model(dict(flip_test=True)).eval()
    with torch.no_grad():  # wake the head up: its weights start near zero
        model.head.final_layer.weight.normal_()
        x = torch.randn(1, 3, H, W)
        maps = []
        for inputs in (x, x.flip(-1)):
            feats = [model.extract_feat(i) for i in (inputs, inputs.flip(-1))]
            maps.append(model.head._flip_average(feats, [make_sample()], dict()))
    assert torch.allclose(maps[1], flip_heatmaps(maps[0], FLIP), atol=1e-5)


def test_predictions_do_not_touch_the_batch():
    model, batch = make_model(dict(flip_test=True, shift_heatmap=True)).eval(), make_batch()
    before = copy.deepcopy(batch)
    found = model.test_step(batch)
    assert len(found) == 2 and all('pred_instances' in s for s in found)
    assert all(torch.equal(a, b) for a, b in zip(batch['inputs'], before['inputs']))
    for ours, old in zip(batch['data_samples'], before['data_samples']):
        assert 'pred_instances' not in ours and ours.metainfo_keys() == old.metainfo_keys()
    assert found[0].pred_instances.keypoints.shape == (1, 5, 2)
    assert np.array_equal(found[0].pred_instances.bboxes,
                          batch['data_samples'][0].gt_instances.bboxes)


def test_loss_reaches_every_parameter_of_the_estimator():
    model = make_model()
    losses = model(**model.data_preprocess(make_batch()), mode='loss')
    losses['loss_kpt'].backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    assert losses['acc_pose'].ndim == 0 and not losses['acc_pose'].requires_grad


def test_keypoint_indices_select_predictions_and_heatmaps():
    cfg = dict(output_heatmaps=True, output_keypoint_indices=[3, 0])
    found = make_model(cfg).eval().test_step(make_batch(1))[0]
    assert found.pred_instances.keypoints.shape == (1, 2, 2)
    assert found.pred_fields.heatmaps.shape == (2, H // 4, W // 4)


def test_training_preprocess_runs_augments_only_in_training():
    seen = []
    preprocessor = PoseDataPreprocessor(batch_augments=[lambda x, s: (seen.append(1) or x, s)])
    model = TopdownPoseEstimator(tiny_hrnet(), data_preprocessor=preprocessor)
    model.eval().data_preprocess(make_batch())
    assert not seen
    model.train().data_preprocess(make_batch())
    assert seen


@pytest.mark.parametrize('mode', ['predict', 'loss'])
def test_modes_ask_for_their_samples(mode):
    with pytest.raises(ValueError, match='one data sample per input'):
        make_model()(torch.zeros(2, 3, H, W), mode=mode)


# ------------------------------------------------------------------------ preprocessor
@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=3),
       divisor=st.integers(1, 8), swap=st.booleans())
def test_preprocessor_equals_its_definition(sizes, divisor, swap):
    rng = np.random.default_rng(len(sizes))
    images = [rng.integers(0, 256, (3, *s), dtype=np.uint8) for s in sizes]
    mean, std = np.float32([10, 20, 30]), np.float32([2, 3, 4])
    out = PoseDataPreprocessor(mean.tolist(), std.tolist(), divisor, pad_value=9, bgr_to_rgb=swap)(
        dict(inputs=[torch.from_numpy(i) for i in images]))['inputs'].numpy()
    h, w = (-(-max(s) // divisor) * divisor for s in zip(*sizes))
    assert out.shape == (len(sizes), 3, h, w) and out.dtype == np.float32
    for image, result, (ih, iw) in zip(images, out, sizes):
        want = (image[::-1] if swap else image).astype(np.float32)
        want = (want - mean[:, None, None]) / std[:, None, None]
        assert np.allclose(result[:, :ih, :iw], want, atol=1e-5)
        assert (result[:, ih:] == 9).all() and (result[:, :, iw:] == 9).all()


@pytest.mark.parametrize('arguments', [
    dict(mean=[1.]), dict(std=[1.]), dict(mean=[1., 2.], std=[1., 2.]),
    dict(mean=[1.] * 3, std=[1., 0., 1.]), dict(bgr_to_rgb=True, rgb_to_bgr=True),
    dict(pad_size_divisor=0), dict(pad_size_divisor=1.5), dict(mean=[1.], std=[1., 1., 1.])])
def test_preprocessor_refuses(arguments):
    with pytest.raises(ValueError):
        PoseDataPreprocessor(**arguments)


def test_preprocessor_of_grey_pictures():
    out = PoseDataPreprocessor([100.], [50.])(dict(inputs=[torch.full((1, 4, 3), 150.)]))
    assert out['inputs'].shape == (1, 1, 4, 3) and (out['inputs'] == 1).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_everything_on_a_gpu():
    model = make_model(dict(flip_test=True)).cuda()
    batch = model.data_preprocess(make_batch())
    assert batch['inputs'].is_cuda
    losses = model(**batch, mode='loss')
    losses['loss_kpt'].backward()
    assert losses['acc_pose'].is_cuda
    assert model.eval().test_step(make_batch())[0].pred_instances.keypoints.shape == (1, 5, 2)
    synced = tiny_hrnet(norm_cfg=dict(type='SyncBN'))
    assert isinstance(synced.bn1, nn.SyncBatchNorm)
    assert synced.cuda()(torch.zeros(2, 3, 32, 32, device='cuda'))[0].is_cuda
