"""What every loss must keep: weight 0 hides NaN, order is no matter, gradients are right."""
import copy
import math
import pickle
from dataclasses import dataclass
from typing import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posebook.datasets import COCO
from posebook.models import losses as package
from posebook.models.losses.base import BaseLoss, drop_unweighted, expand_weight
from posebook.registry import MODELS

B, K = 4, 5  # samples, keypoints
PARENTS = [0, 0, 1, 1, 3]
HEATMAP = dict(last=(6, 4))


@dataclass
class Case:
    """How to feed one loss: B samples of K keypoints with `last` axes, or several such inputs."""
    cfg: dict
    last: tuple = (2, )  # the axes after (B, K)
    kind: str = 'normal'  # of numbers: normal, probability, distribution, box
    inputs: int = 1  # how many outputs and targets: SimCC has one pair per axis
    extra: Callable = None  # further arguments, after the weight
    signed: bool = False  # may the loss be negative?
    perfect: float | None = 0.  # the loss where output equals target; None: not fixed
    empty: float = 0.  # the loss if all weights are 0
    smooth: bool = True  # float64 gradients can be checked

    def numbers(self, rng, lead=(B, K)):
        x = torch.randn(*lead, *self.last, generator=rng, dtype=torch.float64)
        if self.kind == 'probability':
            return x.sigmoid()
        if self.kind == 'distribution':
            return x.flatten(len(lead)).softmax(-1).view_as(x)
        if self.kind == 'box':
            x = x.sigmoid()
            return torch.cat([x[..., :2], x[..., :2] + 1 + x[..., 2:]], -1)
        return x

    def make(self, seed=0, lead=(B, K)):
        """Outputs, targets (tuples) and a weight of zeros and ones, with both in it."""
        rng = torch.Generator().manual_seed(seed)
        outputs, targets = (tuple(self.numbers(rng, lead) for _ in range(self.inputs))
                            for _ in range(2))
        weight = torch.randint(0, 2, lead, generator=rng).double()
        weight.view(-1)[:2] = torch.tensor([0., 1.])
        return outputs, targets, weight

    def build(self, **kwargs):
        return MODELS.build({**self.cfg, **kwargs})

    def call(self, loss, outputs, targets, weight=None):
        pairs = (outputs, targets) if self.inputs > 1 else (outputs[0], targets[0])
        return loss(*pairs, weight, *(self.extra() if self.extra else ()))


def case(name, **kwargs):
    fields = {k: kwargs.pop(k) for k in list(kwargs) if k in Case.__dataclass_fields__}
    return Case(dict(type=name, **kwargs), **fields)


SIMCC = dict(last=(12, ), inputs=2)
WEIGHED = dict(use_target_weight=True)
CASES = {
    'KeypointMSELoss': case('KeypointMSELoss', **HEATMAP, **WEIGHED),
    'KeypointMSELoss-skip': case('KeypointMSELoss', **HEATMAP, **WEIGHED, skip_empty_channel=True),
    'KeypointOHKMMSELoss': case('KeypointOHKMMSELoss', **HEATMAP, **WEIGHED, topk=3),
    'CombinedTargetMSELoss': case('CombinedTargetMSELoss', last=(3, 6, 4), **WEIGHED,
                                  kind='probability'),
    'AdaptiveWingLoss': case('AdaptiveWingLoss', **HEATMAP, **WEIGHED, kind='probability'),
    'FocalHeatmapLoss': case('FocalHeatmapLoss', **HEATMAP, **WEIGHED, kind='probability',
                             perfect=None),
    **{f'MLECCLoss-{mode}': case('MLECCLoss', **SIMCC, **WEIGHED, kind='distribution', mode=mode,
                                 perfect=None) for mode in ('log', 'linear', 'square')},
    'L1Loss': case('L1Loss', **WEIGHED),
    'L1Loss-sum': case('L1Loss', **WEIGHED, reduction='sum'),
    'MSELoss': case('MSELoss', **WEIGHED),
    'SmoothL1Loss': case('SmoothL1Loss', **WEIGHED),
    'SoftWeightSmoothL1Loss': case('SoftWeightSmoothL1Loss', **WEIGHED),
    'SoftWeightSmoothL1Loss-few': case('SoftWeightSmoothL1Loss', **WEIGHED, beta=.5,
                                       supervise_empty=False),
    'WingLoss': case('WingLoss', **WEIGHED),
    'SoftWingLoss': case('SoftWingLoss', **WEIGHED),
    'MPJPELoss': case('MPJPELoss', **WEIGHED),
    'MPJPEVelocityJointLoss': case('MPJPEVelocityJointLoss', last=(6, 3), **WEIGHED),
    'BoneLoss': case('BoneLoss', joint_parents=PARENTS, **WEIGHED),
    **{f'IoULoss-{mode}': case('IoULoss', last=(4, ), kind='box', mode=mode)
       for mode in ('log', 'linear', 'square')},
    **{f'OKSLoss-{mode}': case('OKSLoss', mode=mode, norm_target_weight=True, skip_empty=True,
                               extra=lambda: (torch.full((B, ), 4.), ))
       for mode in ('log', 'linear', 'square')},
    'OKSLoss-plain': case('OKSLoss', empty=1., perfect=0.),
    'BCELoss': case('BCELoss', last=(), **WEIGHED, kind='probability', perfect=None),
    'BCELoss-probabilities': case('BCELoss', last=(), **WEIGHED, kind='probability',
                                  use_sigmoid=True, perfect=None),
    'VariFocalLoss': case('VariFocalLoss', last=(), **WEIGHED, kind='probability', perfect=None),
    'KLDiscretLoss': case('KLDiscretLoss', **SIMCC, kind='distribution', perfect=None),
    'KLDiscretLoss-rtmpose': case('KLDiscretLoss', **SIMCC, beta=10., label_softmax=True),
    'KLDiscretLoss-mask': case('KLDiscretLoss', **SIMCC, mask=[1], mask_weight=.5,
                               label_softmax=True, beta=10.),
    'JSDiscretLoss': case('JSDiscretLoss', **HEATMAP, kind='distribution'),
}


class Shaped:
    """A case whose loss wants the axes in another order than (B, K, ...)."""

    def __init__(self, case):
        self.case = case

    def call(self, loss, outputs, targets, weight=None):
        name = self.case.cfg['type']
        if name == 'CombinedTargetMSELoss':
            outputs, targets = ((x[0].flatten(1, 2), ) for x in (outputs, targets))
        elif name == 'MPJPEVelocityJointLoss':  # (B, K, T, D) -> (B, T, K, D)
            outputs, targets = ((x[0].transpose(1, 2), ) for x in (outputs, targets))
            weight = None if weight is None else weight[:, None]
        elif name == 'IoULoss':  # B * K boxes
            outputs, targets = ((x[0].flatten(0, 1), ) for x in (outputs, targets))
            weight = None if weight is None else weight.flatten()
        elif name == 'BoneLoss' and weight is not None:
            weight = bone_weight(weight)
        return self.case.call(loss, outputs, targets, weight)


def bone_weight(weight):
    """(B, bones) from (B, K): a bone counts if both of its ends do."""
    ends = [(i, p) for i, p in enumerate(PARENTS) if i != p]
    return torch.stack([weight[:, i] * weight[:, p] for i, p in ends], 1)


def run(name, outputs, targets, weight=None, **kwargs):
    return Shaped(CASES[name]).call(CASES[name].build(**kwargs), outputs, targets, weight)


def run_grad(name, outputs, targets, weight=None):
    outputs = tuple(x.clone().requires_grad_() for x in outputs)
    loss = run(name, outputs, targets, weight)
    loss.sum().backward()
    return loss.detach(), [x.grad for x in outputs]


def expand(weight, x):
    return weight.reshape(weight.shape + (1, ) * (x.ndim - weight.ndim)).expand_as(x)


def test_every_loss_is_covered():
    families = ('heatmap_loss', 'regression_loss', 'classification_loss')
    names = {n for n in package.__all__ if n.endswith('Loss')
             and getattr(package, n).__module__.endswith(families)}
    assert names - {'InfoNCELoss'} == {c.cfg['type'] for c in CASES.values()}  # it has its own


@pytest.mark.parametrize('name', CASES)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 999), poison=st.sampled_from([float('nan'), float('inf'), -1e30]))
def test_weight_zero_hides_whatever_is_there(name, seed, poison):
    outputs, targets, weight = CASES[name].make(seed)
    clean, clean_grads = run_grad(name, outputs, targets, weight)
    bad = tuple(torch.where(expand(weight, x) == 0, poison, x) for x in targets)
    loss, grads = run_grad(name, outputs, bad, weight)
    assert torch.isfinite(loss).all() and torch.equal(loss, clean)
    for x, grad, other in zip(outputs, grads, clean_grads):
        assert torch.equal(grad, other) and torch.isfinite(grad).all()
        if CASES[name].cfg['type'] != 'BoneLoss':  # a joint there hangs on its neighbours' bones
            assert (grad[expand(weight, x) == 0] == 0).all()


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('poison', [float('nan'), float('inf'), 0.5])
def test_all_weights_zero(name, poison):
    outputs, targets, weight = CASES[name].make()
    bad = tuple(torch.full_like(x, poison) for x in targets)
    loss, grads = run_grad(name, outputs, bad, torch.zeros_like(weight))
    assert (loss == CASES[name].empty).all()
    assert all((g == 0).all() for g in grads)


@pytest.mark.parametrize('name', CASES)
def test_nan_output_at_weight_zero_is_hidden_too(name):
    outputs, targets, weight = CASES[name].make()
    bad = tuple(torch.where(expand(weight, x) == 0, torch.nan, x) for x in outputs)
    loss, grads = run_grad(name, bad, targets, weight)
    assert torch.isfinite(loss).all()
    if CASES[name].cfg['type'] != 'BoneLoss':
        assert all(torch.isfinite(g).all() for g in grads)


@pytest.mark.parametrize('name', CASES)
def test_batch_order_does_not_matter(name):
    outputs, targets, weight = CASES[name].make(1)
    order = torch.tensor([2, 0, 3, 1])
    turn = [tuple(x[order] for x in xs) for xs in (outputs, targets)]
    a, b = run(name, outputs, targets, weight), run(name, *turn, weight[order])
    torch.testing.assert_close(a[order] if a.ndim else a, b)


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('weighted', [False, True])
def test_gradient(name, weighted):
    outputs, targets, weight = CASES[name].make(2, (2, K) if not CASES[name].extra else (B, K))
    weight = weight * .7 if weighted else None  # a fraction shows wrong powers of the weight
    if CASES[name].build().__dict__.get('use_target_weight') and not weighted:
        build = dict(use_target_weight=False)
    else:
        build = {}
    outputs = tuple(x.requires_grad_() for x in outputs)
    assert torch.autograd.gradcheck(
        lambda *xs: run(name, xs, targets, weight, **build), outputs, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize('name', CASES)
def test_sign_and_perfection(name):
    outputs, targets, weight = CASES[name].make(3)
    ones = torch.ones_like(weight)
    assert (run(name, outputs, targets, ones) >= 0).all()
    perfect = run(name, targets, targets, ones)
    if CASES[name].perfect is None:
        assert (perfect <= run(name, outputs, targets, ones) + 1e-9).all() or 'Focal' in name
    elif 'KLDiscretLoss' not in name:  # which compares softmax(10 x) with softmax(10 x)
        assert perfect.abs().max() < 1e-6
    else:
        assert perfect.abs() < 1e-12


@pytest.mark.parametrize('name', [n for n in CASES
                                  if not n.startswith(('KLDiscret', 'JSDiscret'))])
def test_loss_weight_scales(name):
    made = CASES[name].make(4)
    torch.testing.assert_close(run(name, *made, loss_weight=2.5), 2.5 * run(name, *made))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', CASES)
def test_half_precision_is_finite(name, dtype):
    outputs, targets, weight = CASES[name].make(5)
    factor = 300 if CASES[name].kind == 'normal' else 1  # 300**2 is more than float16 holds
    outputs, targets = ([(x * factor).to(dtype) for x in xs] for xs in (outputs, targets))
    loss, grads = run_grad(name, outputs, targets, weight.to(dtype))
    assert torch.isfinite(loss).all() and loss.dtype == torch.float32
    assert all(torch.isfinite(g).all() for g in grads)


@pytest.mark.parametrize('name', CASES)
def test_weights_are_optional_or_demanded(name):
    outputs, targets, weight = CASES[name].make(6)
    if CASES[name].build().use_target_weight:
        if not name.startswith(('KeypointMSE', 'Focal')):
            with pytest.raises(ValueError, match='needs target_weight'):
                run(name, outputs, targets)
        free = run(name, outputs, targets, use_target_weight=False)
        ones = run(name, outputs, targets, torch.ones_like(weight))
        if 'few' not in name:  # it divides by keypoints in place of coordinates
            torch.testing.assert_close(free, ones)
    elif CASES[name].build().use_target_weight is None:
        assert run(name, outputs, targets).isfinite()


@pytest.mark.parametrize('name', CASES)
def test_wrong_shapes_are_refused(name):
    loss = CASES[name].build()
    outputs, targets, weight = CASES[name].make()
    with pytest.raises((ValueError, TypeError)):
        Shaped(CASES[name]).call(loss, outputs, tuple(x[:1] for x in targets), weight)
    with pytest.raises((ValueError, TypeError)):
        Shaped(CASES[name]).call(loss, outputs, targets, torch.ones(B + 1, K + 2))
    with pytest.raises(TypeError, match='tensor'):
        CASES[name].call(loss, [x.numpy() for x in outputs], targets, weight)


@pytest.mark.parametrize('name, kwargs', [
    ('L1Loss', dict(use_target_weight='mean')), ('L1Loss', dict(loss_weight='2')),
    ('WingLoss', dict(epsilon=0)), ('SoftWingLoss', dict(omega1=-1)),
    ('AdaptiveWingLoss', dict(epsilon=0)), ('KeypointOHKMMSELoss', dict(topk=2.5)),
    ('BoneLoss', dict(joint_parents=[0, 1])), ('BoneLoss', dict(joint_parents=None)),
    ('InfoNCELoss', dict(temperature='warm')), ('L1Loss', dict(reduction='avg')), ('BCELoss', dict(reduction='avg')),
    ('IoULoss', dict(mode='cubic')), ('OKSLoss', dict(mode='cubic')),
    ('MLECCLoss', dict(mode='cubic')), ('MLECCLoss', dict(reduction='max')),
    ('InfoNCELoss', dict(temperature=0)), ('KeypointOHKMMSELoss', dict(topk=0)),
    ('BoneLoss', dict(joint_parents=[0, 7])), ('VariFocalLoss', dict(reduction=None))])
def test_wrong_options_are_refused(name, kwargs):
    with pytest.raises((ValueError, TypeError), match=f'^{name}: {next(iter(kwargs))} must'):
        MODELS.build(dict(type=name, **kwargs))


@pytest.mark.parametrize('name', ['KeypointMSELoss', 'FocalHeatmapLoss', 'AdaptiveWingLoss', 'L1Loss', 'OKSLoss-plain',
                                  'KLDiscretLoss', 'JSDiscretLoss', 'MLECCLoss-log'])
@pytest.mark.parametrize('form', ['list', 'numpy'])
def test_weights_that_are_no_tensors_are_named(name, form):
    outputs, targets, weight = CASES[name].make()
    with pytest.raises(TypeError, match='target_weights? must be a tensor'):
        run(name, outputs, targets, weight.tolist() if form == 'list' else weight.numpy())


def test_other_arguments_that_are_no_tensors_are_named():
    maps, points = torch.rand(1, 2, 4, 4), torch.rand(1, 2, 2)
    for name, call in (('mask', lambda loss: loss(maps, maps, None, [1])),
                       ('areas', lambda loss: loss(points, points, None, [1.])),
                       ('features', lambda loss: loss([1.]))):
        cfg = dict(mask='KeypointMSELoss', areas='OKSLoss', features='InfoNCELoss')[name]
        with pytest.raises(TypeError, match=f'{name} must be a tensor, got list'):
            call(MODELS.build(dict(type=cfg)))


def test_a_weight_that_is_ignored_may_have_any_shape():
    maps = torch.rand(2, 3, 4, 4)
    for name in ('AdaptiveWingLoss', 'KeypointOHKMMSELoss'):
        loss = MODELS.build(dict(type=name, **({'topk': 2} if 'OHKM' in name else {})))
        assert loss(maps, maps, torch.ones(2, 3, 1)) == 0
        loss.use_target_weight = True
        with pytest.raises(ValueError, match='target_weights must be'):
            loss(maps, maps, torch.ones(2, 3, 1))


def test_the_type_of_a_weight_is_not_the_type_of_the_loss():
    maps = torch.rand(2, 3, 4, 4)
    for name in ('KeypointMSELoss', 'FocalHeatmapLoss', 'AdaptiveWingLoss'):
        loss = MODELS.build(dict(type=name, use_target_weight=True))
        values = [loss(maps, maps / 2, torch.ones(2, 3, dtype=t))
                  for t in (torch.float32, torch.float64, torch.bool, torch.int64)]
        assert {v.dtype for v in values} == {torch.float32} and len({v.item() for v in values}) == 1


def test_js_where_a_softmax_is_exactly_zero():
    """Logits 200 apart give probability 0; 0 * log(0) is 0, and so must be its share of the gradient."""
    logits = torch.tensor([[[0., 1., -200., -300.]]], requires_grad=True)
    target = torch.tensor([[[0., 1., 0., 0.]]])
    assert (logits.softmax(-1) == 0).any()
    JS = MODELS.build(dict(type='JSDiscretLoss', use_target_weight=False))
    JS(logits.softmax(-1), target).backward()
    assert logits.grad.isfinite().all() and (logits.grad[..., 2:] == 0).all()
    assert logits.grad[0, 0, 1] < 0 < logits.grad[0, 0, 0]
    away = torch.tensor([[[0., -300.]]], requires_grad=True)  # all of the target lies where nothing is predicted
    JS(away.softmax(-1), torch.tensor([[[0., 1.]]])).backward()
    assert away.grad.isfinite().all()


def test_simcc_by_hand():
    """beta is for the logits, label_beta for the targets; bins are averaged, axes and people summed, K divides."""
    logits, labels = torch.tensor([[[2., 1.]]]).log(), torch.tensor([[[3., 1.]]]).log()
    kl = .9 * math.log(.9 / (8 / 9)) + .1 * math.log(.1 / (1 / 9))  # beta 3: 8/9, 1/9; label_beta 2: 9/10, 1/10
    pairs = [(x.expand(2, 4, 2), x.expand(2, 4, 2)) for x in (logits, labels)]
    loss = MODELS.build(dict(type='KLDiscretLoss', beta=3., label_softmax=True, label_beta=2., mask=[1, 3], mask_weight=.25))
    want = kl / 2 * 2 * 2 * (1 + .25 + 1 + .25) / 4
    assert loss(*pairs, torch.ones(2, 4)).item() == pytest.approx(want, rel=1e-4)
    assert loss(*pairs, torch.ones(2, 4, 1)).item() == pytest.approx(want, rel=1e-4)
    with pytest.raises(ValueError, match='pred_simcc must be'):
        loss(*([x[0] for x in pair] for pair in pairs), torch.ones(4))


def test_focal_and_varifocal_by_hand():
    half = torch.full((1, 1, 1, 3), .5)
    target = torch.tensor([1., .5, 0.]).view(1, 1, 1, 3)  # the peak, half a peak, background
    focal = MODELS.build(dict(type='FocalHeatmapLoss', alpha=3, beta=2))
    assert focal(half, target).item() == pytest.approx(.125 * math.log(2) * (1 + .25 + 1), rel=1e-5)
    vfl = MODELS.build(dict(type='VariFocalLoss', alpha=.5, gamma=3., reduction='sum'))
    value = vfl(torch.zeros(1, 2), torch.tensor([[.8, 0.]]))  # a positive, weighted by .8, and a negative, by .5 / 8
    assert value.item() == pytest.approx((.8 + .0625) * math.log(2), rel=1e-5)
    far = torch.tensor([[50.]], requires_grad=True)  # clipped at 10, where nothing pulls any more
    value = vfl(far, torch.ones(1, 1))
    value.backward()
    assert value.item() == pytest.approx(math.log1p(math.exp(-10)), rel=1e-3) and far.grad == 0


def test_a_channel_with_one_pixel_is_not_empty():
    loss = MODELS.build(dict(type='KeypointMSELoss', skip_empty_channel=True))
    target = torch.zeros(1, 2, 2, 2)
    target[0, 0, 0, 0] = 1
    assert loss(torch.full_like(target, 2.), target) == (1 + 4 + 4 + 4) / 8


def test_distillation_by_hand():
    """beta sharpens both; axes and keypoints are summed, the batch averaged, K divides."""
    student = torch.tensor([2., 1.]).log().expand(2, 3, 2)  # beta=2: 4/5, 1/5
    teacher = torch.tensor([3., 1.]).log().repeat(2, 3, 1).requires_grad_()  # 9/10, 1/10
    kl = .9 * math.log(.9 / .8) + .1 * math.log(.1 / .2)
    KD = MODELS.build(dict(type='KDLoss', name='kd', use_this=True, weight=.5))
    student = student.clone().requires_grad_()
    value = KD((student, student), (teacher, teacher), 2., None)
    assert value.item() == pytest.approx(.5 * 2 * kl, rel=1e-5)
    value.backward()
    assert teacher.grad is None and student.grad.abs().min() > 0
    one = KD((student[:1, :1], student[:1, :1]), (teacher[:1, :1], teacher[:1, :1]), 2.)
    assert one.item() == pytest.approx(value.item(), rel=1e-5)
    with pytest.raises(TypeError, match='pred must be a tuple'):
        KD(student, (teacher, teacher), 2.)


def test_feature_distillation_by_hand():
    cfg = dict(type='FeaLoss', name='fea', use_this=True, student_channels=2)
    loss = MODELS.build(dict(**cfg, teacher_channels=2, alpha_fea=.1))
    ones = torch.ones(3, 2, 4, 5)
    assert loss(ones, -ones).item() == pytest.approx(4 * 40 * .1)  # 2**2 at each of 40 places of a sample
    assert loss(300 * ones.half(), -300 * ones.half()).isfinite() and not loss.state_dict()
    wide = MODELS.build(dict(**cfg, teacher_channels=4))
    assert {k: tuple(v.shape) for k, v in wide.state_dict().items()} == {
        'align.weight': (4, 2, 1, 1), 'align.bias': (4,)}


def test_velocity_of_one_frame():
    loss = MODELS.build(dict(type='MPJPEVelocityJointLoss'))
    pose = torch.tensor([[[[3., 4., 0.]]]])  # (B, T, K, D)
    assert loss(2 * pose, pose) == 5  # the length of the error; no error after scaling, no velocity


@pytest.mark.parametrize('name, power', [
    ('L1Loss', 1), ('MPJPELoss', 1), ('MSELoss', 2), ('SoftWeightSmoothL1Loss', 1),
    ('BCELoss', 1), ('VariFocalLoss', 1), ('KeypointMSELoss', 1), ('KeypointOHKMMSELoss', 2),
    ('CombinedTargetMSELoss', 2), ('KLDiscretLoss', 1), ('JSDiscretLoss', 1),
    ('MLECCLoss-log', 1)])
def test_how_a_weight_enters(name, power):
    outputs, targets, weight = CASES[name].make(7)
    half, full = (run(name, outputs, targets, torch.full_like(weight, w)) for w in (.5, 1.))
    torch.testing.assert_close(half, full * .5**power)


def test_weights_of_four_axes():
    outputs, targets, weight = CASES['KeypointMSELoss'].make(8)
    for name in ('KeypointMSELoss', 'FocalHeatmapLoss', 'AdaptiveWingLoss', 'KeypointOHKMMSELoss'):
        outputs, targets, weight = CASES[name].make(8)
        wide = expand(weight, targets[0])
        torch.testing.assert_close(run(name, outputs, targets, weight),
                                   run(name, outputs, targets, wide))


def test_mask_hides_nan_areas():
    outputs, (target, ), weight = CASES['KeypointMSELoss'].make(9)
    mask = torch.ones(B, 1, 6, 4, dtype=torch.float64)
    mask[..., 2:] = 0
    bad = target.clone()
    bad[..., 2:] = torch.nan
    for name in ('KeypointMSELoss', 'FocalHeatmapLoss'):
        loss = CASES[name].build()
        output = outputs[0].sigmoid().requires_grad_()
        value = loss(output, bad.sigmoid(), weight, mask)
        value.backward()
        assert value.isfinite() and (output.grad[..., 2:] == 0).all()


def test_info_nce_order_and_gradient():
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = MODELS.build(dict(type='InfoNCELoss', temperature=.5, loss_weight=2))
    torch.testing.assert_close(loss(features), loss(features.flip(0)))
    assert torch.autograd.gradcheck(loss, features.requires_grad_())
    assert loss(features.detach().half() * 100).isfinite()
    with pytest.raises(ValueError, match='features'):
        loss(features[0])
    opposite = torch.tensor([[3., 0.], [-2., 0.]])  # cosines 1 and -1, over 0.5: 2 and -2
    assert loss(opposite).item() == pytest.approx(2 * 2 * math.log1p(math.exp(-4)), rel=1e-5)


@pytest.mark.parametrize('poison', [float('nan'), float('inf')])
def test_rle_drops_masked_points(poison):
    if 'RLELoss' not in MODELS:
        pytest.skip('no RLELoss')
    loss = MODELS.build(dict(type='RLELoss', use_target_weight=True))
    rng = torch.Generator().manual_seed(0)
    pred, sigma, target = (torch.randn(B, K, 2, generator=rng) for _ in range(3))
    pred.requires_grad_(), sigma.requires_grad_()
    weight = torch.ones(B, K, 1)
    weight[:2] = 0
    target[:2] = poison
    value = loss(pred, sigma, target, weight)
    value.backward()
    assert value.isfinite()
    assert (pred.grad[:2] == 0).all() and (sigma.grad[:2] == 0).all() and pred.grad[2:].any()
    assert loss(pred, sigma, target, 0 * weight) == 0
    order = torch.tensor([3, 0, 2, 1])
    again = loss(pred[order], sigma[order], target[order], weight[order])
    torch.testing.assert_close(again, value)


def test_oks_sigmas_come_from_the_metainfo():
    for metainfo in (COCO, dict(from_file='configs/_base_/datasets/coco.py'), 'coco'):
        loss = MODELS.build(dict(type='OKSLoss', metainfo=metainfo))
        assert list(loss.state_dict()) == ['sigmas'] and loss.sigmas.shape == (17, )
    target = torch.zeros(1, 17, 2)
    output = target.clone()
    output[0, 0, 0] = 2 * .026 * 10  # one nose sigma off at an area of 100
    value = loss(output, target, torch.ones(1, 17), torch.tensor([100.]))
    assert abs(value.item() - (1 - torch.tensor(-.5).exp().item()) / 17) < 1e-6
    with pytest.raises(ValueError, match='17 sigmas'):
        loss(output[:, :5], target[:, :5])
    with pytest.raises(ValueError, match='areas'):
        loss(output, target, areas=torch.ones(2))


def test_velocity_weights_per_frame():
    """A frame without labels takes the two velocities at its sides along."""
    loss = MODELS.build(dict(type='MPJPEVelocityJointLoss', use_target_weight=True))
    rng = torch.Generator().manual_seed(0)
    output, target = (torch.randn(2, 6, K, 3, generator=rng) for _ in range(2))
    weight = torch.ones(2, 6, K)
    weight[:, 2] = 0
    target[:, 2] = torch.nan
    output.requires_grad_()
    loss(output, target, weight).backward()
    assert output.grad.isfinite().all() and (output.grad[:, 2] == 0).all()


def test_wrappers():
    wrapper = MODELS.build(dict(type='MultipleLossWrapper', losses=[
        dict(type='L1Loss', use_target_weight=True), dict(type='JSDiscretLoss')]))
    points, maps = CASES['L1Loss'].make(1), CASES['JSDiscretLoss'].make(1)
    pairs = [points[0][0], maps[0][0]], [points[1][0], maps[1][0]]
    weight = points[2]
    got = wrapper(*pairs, weight)
    want = [run('L1Loss', *points[:2], weight), run('JSDiscretLoss', *maps[:2], weight)]
    assert [x.item() for x in got] == [x.item() for x in want]
    with pytest.raises(ValueError, match='target_list must have 2 items'):
        wrapper(pairs[0], pairs[1][:1], weight)
    with pytest.raises(TypeError, match='input_list'):
        wrapper(pairs[0][0], pairs[1], weight)


def test_losses_by_name():
    combined = MODELS.build(dict(type='CombinedLoss', losses=dict(
        points=dict(type='L1Loss'), fea=dict(type='FeaLoss', name='f', use_this=True, student_channels=1,
                                             teacher_channels=2))))
    assert combined['points'] is combined.points and list(combined.keys()) == ['points', 'fea']
    assert list(combined.state_dict()) == ['fea.align.weight', 'fea.align.bias']
    with pytest.raises(TypeError, match=r'by name \(points, fea\)'):
        combined(torch.zeros(1))


@pytest.mark.parametrize('name', CASES)
def test_copies_are_equal(name):
    loss = CASES[name].build()
    made = CASES[name].make(3)
    want = Shaped(CASES[name]).call(loss, *made)
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(Shaped(CASES[name]).call(twin, *made), want)


@pytest.mark.parametrize('name', CASES)
def test_inputs_are_left_alone_and_strides_do_not_matter(name):
    outputs, targets, weight = CASES[name].make(4)
    kept = [x.clone() for x in (*outputs, *targets, weight)]
    want = run(name, outputs, targets, weight)
    assert all(torch.equal(a, b) for a, b in zip(kept, (*outputs, *targets, weight)))
    strided = [tuple(x.transpose(0, 1).contiguous().transpose(0, 1) for x in xs) for xs in (outputs, targets)]
    torch.testing.assert_close(run(name, *strided, weight.T.contiguous().T), want)


def test_base_helpers():
    x = torch.ones(2, 3, 4)
    assert expand_weight(torch.ones(2, 3), x).shape == (2, 3, 1)
    with pytest.raises(ValueError, match=r'\(2, 3\); got \(3, 2\)'):
        expand_weight(torch.ones(3, 2), x)
    dropped, = drop_unweighted(torch.tensor([0., 2.]), torch.tensor([torch.nan, 5.]))
    assert dropped.tolist() == [0, 5]
    with pytest.raises(TypeError, match='formula'):
        BaseLoss()(x, x)


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_a_logit_that_is_no_number_counts_as_0(reduction, bad):
    loss = MODELS.build(dict(type='VariFocalLoss', reduction=reduction))
    target = torch.tensor([0., .3, .9, 0.])
    output = torch.tensor([.5, -1., 2., bad], requires_grad=True)
    rest = MODELS.build(dict(type='VariFocalLoss', reduction='none'))(output.detach()[:3], target[:3])
    found = loss(output, target)
    assert found.isfinite().all()
    found.sum().backward()
    assert output.grad.isfinite().all()
    if bad != bad:  # infinite logits are clipped instead
        whole = torch.cat([rest, torch.zeros(1)])
        assert torch.allclose(found, whole if reduction == 'none' else getattr(whole, reduction)())
        assert output.grad[3] == 0
    nowhere = loss(output.detach(), torch.tensor([0., .3, .9, bad]))
    assert nowhere.isfinite().all()


@pytest.mark.parametrize('mode', ['log', 'linear', 'square'])
def test_a_marginal_that_is_no_number_counts_as_0(mode):
    rows = [torch.rand(2, 3, 4).softmax(-1) for _ in range(2)]
    spoilt = [rows[0].clone(), rows[1]]
    spoilt[0][0, 1] = float('nan')
    loss = MODELS.build(dict(type='MLECCLoss', mode=mode, reduction='none'))
    plain, found = loss(rows, rows), loss(spoilt, rows)
    assert found[0, 1] == 0
    plain[0, 1] = 0
    assert torch.allclose(found, plain)


def test_bones_take_the_weights_of_keypoints():
    torch.manual_seed(0)
    loss = MODELS.build(dict(type='BoneLoss', joint_parents=[0, 0, 1, 1], use_target_weight=True))
    output, target, weight = torch.randn(5, 4, 3), torch.randn(5, 4, 3), torch.rand(5, 4)
    wanted = loss(output, target, weight[:, 1:])  # the outer ends, in the order of joints
    assert torch.allclose(loss(output, target, weight), wanted)
    assert torch.allclose(loss(output, target, weight[..., None]), wanted)
    with pytest.raises(ValueError, match='target_weight'):
        loss(output, target, weight[:, :2])


def test_old_checks_are_found_with_a_warning():
    from posebook.models.losses import base
    with pytest.warns(DeprecationWarning, match='posebook.checks'):
        assert base.check_choice('a', 1, (1, 2)) == 1
    with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match='a must be a number above 0'):
        base.check_number('a', 0, above=0)
