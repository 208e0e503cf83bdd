"""Folded and packed networks give the same answers, and what may not be folded is not."""
import copy
import pickle

import pytest
import torch
from torch import nn

from posebook.models import HeatmapHead, HRNet, TopdownPoseEstimator, hrnet_extra
from posebook.models.backbones.residual import ResidualBlock
from posebook.models.fast_inference import DataFlow, FusedBlock, PackedConv2d, fold_batch_norm, optimize_for_inference

torch.set_num_threads(1)


def used(model):
    """Batch norms as after training."""
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats:
            m.running_mean.normal_(0, .3)
            m.running_var.uniform_(.5, 2)
            if m.affine:
                nn.init.normal_(m.weight)
                nn.init.normal_(m.bias)
    return model.eval()


def off(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def pose_model(deconv=None, **extra):
    extra = hrnet_extra(8, num_modules=(1, 1, 1), num_blocks=1) | extra
    kaiming = dict(type='Kaiming', layer='Conv2d')
    return used(TopdownPoseEstimator(HRNet(extra, init_cfg=kaiming), head=HeatmapHead(
        8, 17, deconv_out_channels=deconv, deconv_kernel_sizes=deconv and [4] * len(deconv), init_cfg=kaiming)))


@pytest.mark.parametrize('affine', [True, False])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('conv, norm, shape', [
    (lambda b: nn.Conv2d(8, 6, 3, 2, 1, bias=b), nn.BatchNorm2d, (2, 8, 7, 5)),
    (lambda b: nn.Conv2d(8, 8, 3, groups=8, bias=b), nn.BatchNorm2d, (2, 8, 7, 5)),
    (lambda b: nn.Conv2d(8, 6, 3, padding=1, padding_mode='reflect', bias=b), nn.BatchNorm2d, (2, 8, 7, 5)),
    (lambda b: nn.Conv1d(8, 6, 3, dilation=2, bias=b), nn.BatchNorm1d, (2, 8, 9)),
    (lambda b: nn.Conv3d(4, 6, 2, bias=b), nn.BatchNorm3d, (1, 4, 3, 4, 5)),
    (lambda b: nn.ConvTranspose1d(8, 6, 4, 2, bias=b), nn.BatchNorm1d, (2, 8, 9)),
    (lambda b: nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2, bias=b), nn.BatchNorm2d, (2, 8, 7, 5)),
    (lambda b: nn.ConvTranspose3d(4, 6, 2, bias=b), nn.BatchNorm3d, (1, 4, 3, 4, 5))])
@torch.no_grad()
def test_folding_is_exact(conv, norm, shape, bias, affine):
    torch.manual_seed(0)
    conv, x = conv(bias).double(), torch.randn(shape).double()
    norm = used(norm(conv.out_channels, affine=affine)).double()
    before = {k: v.clone() for m in (conv, norm) for k, v in m.state_dict().items()}
    want = norm(conv(x))
    torch.testing.assert_close(fold_batch_norm(conv, norm)(x), want)
    assert torch.equal(norm(conv(x)), want) and before


class Block(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.stash = how, None
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        return getattr(self, self.how)(x)

    def plain(self, x):
        return self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))

    def crossed(self, x):
        return self.bn1(self.conv2(torch.relu(self.bn2(self.conv1(x)))))

    def skip_from_the_conv(self, x):
        y = self.conv1(x)
        return self.bn2(self.conv2(self.bn1(y) + y))

    def returned(self, x):
        y = self.conv1(x)
        return self.bn2(self.conv2(self.bn1(y))), y

    def kept(self, x):
        self.stash = self.conv1(x)
        return self.bn2(self.conv2(self.bn1(self.stash)))

    def in_place(self, x):
        return self.bn2(self.conv2(self.bn1(self.conv1(x).relu_())))

    def view(self, x):
        y = self.conv1(x)
        flat = y.flatten(1)
        return self.bn2(self.conv2(self.bn1(y))) + flat.mean()

    def functional(self, x):
        y = self.bn1(self.conv1(x))
        return self.bn2(self.conv2(nn.functional.conv2d(y, self.conv1.weight, padding=1)))

    def conv_twice(self, x):
        return self.bn2(self.conv2(self.bn1(self.conv1(self.conv1(x)))))

    def norm_twice(self, x):
        return self.bn1(self.conv2(self.bn1(self.conv1(x))))

    def pair_twice(self, x):
        return self.bn2(self.conv2(self.bn1(self.conv1(self.bn1(self.conv1(x))))))

    def before(self, x):
        return self.conv2(self.bn2(self.conv1(self.bn1(x))))

    def shape_only(self, x):
        y = self.conv1(x)
        return self.bn1(y) * y.shape[-1] + y.ndim

    def no_op(self, x):
        return self.bn1(nn.functional.dropout(self.conv1(x), training=False))


PAIRS = {'plain': ['conv1 bn1', 'conv2 bn2'], 'crossed': ['conv1 bn2', 'conv2 bn1'],
         'skip_from_the_conv': ['conv2 bn2'],
         'returned': ['conv2 bn2'], 'kept': ['conv2 bn2'], 'in_place': ['conv2 bn2'], 'view': ['conv2 bn2'],
         'functional': ['conv2 bn2'], 'conv_twice': ['conv2 bn2'], 'norm_twice': [],
         'pair_twice': ['conv1 bn1', 'conv2 bn2'],
         'before': ['conv1 bn2'], 'shape_only': ['conv1 bn1'], 'no_op': ['conv1 bn1']}


@pytest.mark.parametrize('how', PAIRS)
@torch.no_grad()
def test_only_what_nobody_else_reads_is_folded(how):
    torch.manual_seed(0)
    model, x = used(Block(how)), torch.randn(2, 3, 9, 7)
    with DataFlow(model) as flow:
        answer = model(x)
    assert answer is not None and [' '.join(p) for p in flow.pairs()] == PAIRS[how]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    model.stash = None
    fast = optimize_for_inference(model, example=x)
    for y in (x, torch.randn(1, 3, 12, 8)):
        for a, b in zip(*([o if isinstance(o, tuple) else (o, ) for o in (fast(y), model(y))])):
            assert off(a, b) < 1e-5


def test_what_is_watched_shared_or_without_statistics_stays():
    x = torch.randn(2, 3, 9, 7)
    hooked, no_stats, tied = used(Block('plain')), Block('plain'), used(Block('plain'))
    hooked.conv1.register_forward_hook(lambda *a: None)
    no_stats.bn1 = nn.BatchNorm2d(3, track_running_stats=False)
    used(no_stats)
    tied.conv2.weight = tied.conv1.weight
    for model, kept in ((hooked, 1), (no_stats, 1), (tied, 2)):
        with torch.no_grad():
            fast = optimize_for_inference(model, example=x)
            assert off(fast(x), model(x)) < 1e-5
        assert sum(isinstance(m, nn.BatchNorm2d) for m in fast.modules()) == kept


@pytest.mark.parametrize('options', [dict(), dict(fuse=False), dict(channels_last=False), dict(dtype=torch.float32)])
@pytest.mark.parametrize('deconv', [None, (8, )])
@torch.no_grad()
def test_a_pose_model_gives_the_same_answers(deconv, options):
    torch.manual_seed(0)
    model = pose_model(deconv).train()
    before, x = {k: v.clone() for k, v in model.state_dict().items()}, torch.randn(2, 3, 64, 96)
    fast = optimize_for_inference(model, example=x, **options)
    assert model.training and not fast.training and type(fast) is type(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    assert norms == (0 if options.get('fuse', True) else sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()))
    model.eval()
    for y in (x, torch.randn(1, 3, 32, 64), torch.randn(3, 3, 64, 96).contiguous(memory_format=torch.channels_last)):
        assert off(fast(y), model(y)) < 1e-4
    assert not any(p.requires_grad for p in fast.parameters())


def test_blocks_are_fused_and_keep_their_names():
    torch.manual_seed(0)
    model, x = pose_model(), torch.randn(2, 3, 64, 64)
    model.backbone.layer1[0].register_forward_hook(lambda *a: None)  # somebody looks at this block
    fast = optimize_for_inference(model, example=x)
    blocks = [m for m in fast.modules() if isinstance(m, FusedBlock)]
    assert len(blocks) == sum(isinstance(m, ResidualBlock) for m in model.modules()) - 1
    assert fast.state_dict().keys() - model.state_dict().keys() <= {k for k in fast.state_dict() if k.endswith('bias')}
    image = x.clone().requires_grad_()
    fast(image).sum().backward()  # a saliency map: plain convolutions, the same numbers
    assert image.grad.abs().max() > 0
    with torch.no_grad():
        assert off(fast(x), model(x)) < 1e-4 and off(fast.double()(x.double()), model(x).double()) < 1e-4


@torch.no_grad()
def test_half_precision_takes_and_returns_float():
    torch.manual_seed(0)
    model, x = pose_model(), torch.randn(2, 3, 64, 64)
    fast = optimize_for_inference(model, example=x, dtype=torch.bfloat16)
    out = fast(x)
    assert out.dtype == torch.float32 and 0 < off(out, model(x)) < .1
    assert fast.backbone.conv1.weight.dtype == torch.bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('dtype', [None, torch.float16])
@torch.no_grad()
def test_on_a_gpu(dtype):
    torch.manual_seed(0)
    model, x = pose_model().cuda(), torch.randn(2, 3, 64, 64).cuda()
    assert off(optimize_for_inference(model, example=x, dtype=dtype)(x), model(x)) < (1e-2 if dtype else 1e-3)


@pytest.mark.filterwarnings('ignore:.torch.jit')
def test_packed_layers_step_aside():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 12, 3, 2, 1, dilation=2, groups=2)
    x = torch.randn(2, 8, 13, 11)
    packed = PackedConv2d(conv)
    packed(x)[0, 0].sum().backward()  # a gradient is wanted: a plain convolution
    assert packed.packed is None and conv.weight.grad is not None
    conv.requires_grad_(False)
    image = x.clone().requires_grad_()
    packed(image).sum().backward()  # of the picture
    assert image.grad is not None and packed.packed is None
    assert off(packed(x), conv(x)) < 1e-5 and packed.packed is not None
    for same in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert same.packed is None and off(same(x), conv(x)) < 1e-5
    packed.load_state_dict({'weight': conv.weight * 2, 'bias': conv.bias * 2})  # writes to the shared parameters
    assert off(packed(x), conv(x)) < 1e-5
    traced = torch.jit.trace(packed, x, check_trace=False)
    assert off(traced(x), conv(x)) < 1e-5 and 'mkldnn' not in str(traced.inlined_graph)
    assert off(packed.double()(x.double()), conv(x.double())) < 1e-12


@pytest.mark.parametrize('conv', [
    nn.Conv2d(3, 4, 3, padding='same'), nn.Conv2d(3, 4, 3, padding=1, padding_mode='circular'),
    nn.Conv2d(3, 4, 3).double(), nn.Conv1d(3, 4, 3)])
def test_what_cannot_be_packed_is_left_alone(conv):
    assert not PackedConv2d.possible(conv)


def test_without_mkldnn_it_still_works(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    model, x = used(Block('plain')), torch.randn(1, 3, 9, 7)
    with torch.no_grad():
        fast = optimize_for_inference(model, example=x)
        assert type(fast.conv1) is nn.Conv2d and off(fast(x), model(x)) < 1e-5


def test_examples_that_do_not_fit():
    with pytest.raises(ValueError, match='cannot run on the example .*multiples of 32'):
        optimize_for_inference(pose_model(), example=torch.randn(1, 3, 50, 50))
    with pytest.raises(ValueError, match='does not begin with a Conv2d'):
        optimize_for_inference(nn.Sequential(nn.Linear(3, 3)))
    with pytest.raises(ValueError, match='dtype must be'):
        optimize_for_inference(pose_model(), dtype=torch.int8)
    model = used(Block('plain'))
    assert optimize_for_inference(model) is not model  # the default example suits any picture network


def test_a_model_that_answers_at_random_is_noticed():
    class Random(Block):
        def plain(self, x):
            return super().plain(x) + torch.rand(1)
    with pytest.raises(RuntimeError, match='is off by'):
        optimize_for_inference(used(Random('plain')), example=torch.randn(1, 3, 9, 7))
