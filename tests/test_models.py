"""Models beyond what their chapters test: checkpoint layouts, sizes, gradients, flips, refusals."""
import copy
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from posebook.codecs import MSRAHeatmap
from posebook.models import (HeatmapHead, HRNet, KeypointMSELoss, PoseDataPreprocessor,
                             TopdownPoseEstimator, flip_heatmaps, hrnet_extra)
from posebook.models.fast_inference import optimize_for_inference
from posebook.models.losses.heatmap_loss import heatmap_mask
from posebook.models.pose_estimators.topdown import input_to_image
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
    once = flip_heatmaps(maps, order.tolist(), mode, shift_heatmap=False)
    assert torch.equal(flip_heatmaps(once, order.tolist(), mode, shift_heatmap=False), maps)
    if shift:
        moved = flip_heatmaps(maps, order.tolist(), mode)
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
    with pytest.raises(ValueError, match='heatmap_size'):
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
            maps.append(model.head.flip_average(feats, [make_sample()], dict()))
    assert torch.allclose(maps[1], flip_heatmaps(maps[0], FLIP, shift_heatmap=False), atol=1e-5)


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


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['eager', pytest.param('inductor', marks=pytest.mark.skipif(
    not shutil.which('g++'), reason='torch.compile needs a C++ compiler'))])
@torch.no_grad()
def test_predictions_of_a_compiled_model(backend, monkeypatch):
    torch._dynamo.reset()
    compiled, plain_compile = [], nn.Module.compile
    monkeypatch.setattr(nn.Module, 'compile', lambda m: (compiled.append(type(m)), plain_compile(m, backend=backend)))
    model, batch = make_model(dict(flip_test=True, shift_heatmap=True)).eval(), make_batch()
    fast = optimize_for_inference(model, compile=True)
    assert compiled == [HRNet, HeatmapHead] and type(fast) is TopdownPoseEstimator
    torch._dynamo.utils.counters.clear()
    for got, want in zip(fast.test_step(batch), model.test_step(batch)):
        np.testing.assert_allclose(got.pred_instances.keypoint_scores, want.pred_instances.keypoint_scores, atol=1e-4)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] >= 2  # backbone and head did run compiled
    network = optimize_for_inference(nn.Sequential(model.backbone.conv1, model.backbone.bn1), compile=True)
    assert compiled[2:] == [nn.Sequential] and network(torch.zeros(1, 3, 8, 8)).shape[2:] == (4, 4)


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


def test_metainfo_of_the_model_wins_over_that_of_the_samples():
    meta = dict(keypoint_name2id={}, flip_indices=[0, 1, 2, 3, 4], num_keypoints=5)  # parsed already
    plain, own = make_model(dict(flip_test=True)), make_model(dict(flip_test=True))
    own.metainfo = TopdownPoseEstimator(own.backbone, metainfo=meta).metainfo
    own.load_state_dict(plain.state_dict())
    batch = make_batch(1)
    found = own.eval().test_step(batch)[0]
    assert found.metainfo['num_keypoints'] == 5 and 'num_keypoints' not in batch['data_samples'][0].metainfo
    batch['data_samples'][0].set_metainfo(dict(flip_indices=[0, 1, 2, 3, 4]))
    assert np.array_equal(found.pred_instances.keypoint_scores, plain.eval().test_step(batch)[0].pred_instances.keypoint_scores)
    with pytest.raises(TypeError, match='metainfo must be a dict'):
        TopdownPoseEstimator(own.backbone, metainfo='coco.py')


def test_the_way_back_keeps_depth_and_type():
    meta = dict(input_size=(100, 200), input_center=(50., 70.), input_scale=(200., 400.))
    points = np.array([[[50., 100., .25], [60., 100., .5]]], np.float32)
    found = input_to_image(points, meta)
    assert found.dtype == np.float32 and found.tolist() == [[[50, 70, .25], [70, 70, .5]]] and points[0, 1, 0] == 60


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
    dict(pad_size_divisor=0), dict(pad_size_divisor=1.5), dict(mean=1., std=1.)])
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


@pytest.mark.slow
def test_models_load_torch_and_nothing_that_few_need():
    """In a subprocess: what this process has imported says nothing. Adapters and metrics import the rest when used."""
    import subprocess
    import sys
    code = ('import sys, posebook.models; print(*[m for m in ("torchvision", "pycocotools", "matplotlib", "scipy", "pandas", '
            '"timm", "IPython", "ipywidgets", "torch._dynamo") if m in sys.modules])')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ''), done.stdout + done.stderr
