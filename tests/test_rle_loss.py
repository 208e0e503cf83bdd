"""RLELoss and its flow: masks, precision, invariances, and what a checkpoint holds."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posebook.models.losses import RealNVP, RLELoss
from posebook.registry import MODELS

OPTIONS = [dict(), dict(residual=False), dict(q_distribution='gaussian'), dict(size_average=False)]


@pytest.fixture(autouse=True, scope='module')
def threads():
    """One is quickest on small tensors, and leaves the others to other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch(seed, b=4, k=5, dtype=torch.float32):
    """pred, raw sigma and target, (b, k, 2)."""
    random = torch.Generator().manual_seed(seed)
    pred, target = torch.rand(2, b, k, 2, generator=random, dtype=dtype)
    return pred, torch.randn(b, k, 2, generator=random, dtype=dtype), target


def built(seed=0, **options):
    torch.manual_seed(seed)
    loss = RLELoss(**options)
    for parameter in loss.parameters():  # a flow that bends
        torch.nn.init.normal_(parameter, std=.2)
    return loss


@pytest.fixture(params=OPTIONS, ids=str)
def options(request):
    return request.param


def gradients(loss, *inputs, weight=None):
    leaves = [x.clone().requires_grad_() for x in inputs[:2]]
    value = loss(*leaves, inputs[2], weight)
    return value, torch.autograd.grad(value, leaves)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 999), b=st.integers(0, 4), k=st.integers(1, 6), garbage=st.sampled_from([math.nan, math.inf, 7.]))
def test_masked_points_do_not_exist(seed, b, k, garbage):
    """Zero weight: no loss, no gradient, whatever stands in the label."""
    loss = built(use_target_weight=True)
    pred, sigma, target = batch(seed, b, k)
    weight = torch.randint(0, 3, (b, k, 1), generator=torch.Generator().manual_seed(seed)).float()
    value, grads = gradients(loss, pred, sigma, torch.where(weight == 0, garbage, target), weight=weight)
    clean, expected = gradients(loss, pred, sigma, target, weight=weight)
    torch.testing.assert_close(value, clean, rtol=0, atol=0)
    for grad, want in zip(grads, expected):
        torch.testing.assert_close(grad, want, rtol=0, atol=0)
        assert (grad[weight[..., 0] == 0] == 0).all()


def test_masked_nan_of_the_prediction_too():
    loss, (pred, sigma, target) = built(use_target_weight=True), batch(0)
    weight = torch.ones(4, 5, 1)
    weight[1, 2] = 0
    pred[1, 2] = sigma[1, 2] = torch.nan
    value, grads = gradients(loss, pred, sigma, target, weight=weight)
    assert value.isfinite() and all(g.isfinite().all() and (g[1, 2] == 0).all() for g in grads)
    loss(pred, sigma, target, weight).backward()
    assert all(p.grad.isfinite().all() for p in loss.parameters())


def test_half_a_point():
    """A weight for each axis: the other coordinate still stands in the flow, unless it is NaN."""
    loss, (pred, sigma, target) = built(use_target_weight=True), batch(1)
    weight = torch.ones(4, 5, 2)
    weight[0, 0, 1] = 0
    full = built()(pred, sigma, target)
    part = loss(pred, sigma, target, weight)
    only_y = loss(pred, sigma, target, 1 - weight)
    torch.testing.assert_close(part + only_y, full)
    for poison in (torch.nan, torch.inf):
        target[0, 0, 1] = poison
        value, grads = gradients(loss, pred, sigma, target, weight=weight)
        assert value.isfinite() and all(g.isfinite().all() for g in grads)


def test_all_masked(options):
    loss = built(use_target_weight=True, **options)
    pred, sigma, target = batch(2)
    leaves = pred.requires_grad_(), sigma.requires_grad_()
    value = loss(*leaves, target * torch.nan, torch.zeros(4, 5, 1))
    value.backward()
    assert value == 0
    assert all((x.grad == 0).all() for x in (*leaves, *loss.parameters()))


def test_order_and_weights(options):
    """The order of the batch does not matter; weights scale; (B, K), (B, K, 1) and (B, K, 2) agree."""
    loss, (pred, sigma, target) = built(use_target_weight=True, **options), batch(3)
    weight = torch.rand(4, 5)
    value = loss(pred, sigma, target, weight)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(loss(*(x[order] for x in (pred, sigma, target, weight))), value)
    torch.testing.assert_close(loss(pred, sigma, target, weight[..., None]), value)
    torch.testing.assert_close(loss(pred, sigma, target, weight[..., None].expand(4, 5, 2)), value)
    torch.testing.assert_close(loss(pred, sigma, target, 3 * weight), 3 * value)
    one_by_one = sum(loss(*(x[i:i + 1] for x in (pred, sigma, target, weight))) for i in range(4))
    torch.testing.assert_close(one_by_one / (1 if options.get('size_average') is False else 4), value)
    assert loss.train()(pred, sigma, target, weight) == loss.eval()(pred, sigma, target, weight)


def test_weights_are_ignored_unless_asked_for():
    loss, inputs = built(), batch(4)
    assert loss(*inputs) == loss(*inputs, torch.zeros(4, 5, 1))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(options, dtype):
    """Half inputs, a halved head, extreme sigmas: finite, and close to float32."""
    loss = built(**options)
    loss.to(dtype)
    assert {p.dtype for p in loss.state_dict().values()} == {torch.float32}
    inputs = [x.to(dtype) for x in batch(5)]
    value, grads = gradients(loss, *inputs)
    torch.testing.assert_close(value, loss(*(x.float() for x in inputs)))
    assert all(g.isfinite().all() and g.dtype == dtype for g in grads)
    for raw in (-60., -20., 0., 60.):
        assert loss(inputs[0], torch.full_like(inputs[1], raw), inputs[2]).isfinite()


def test_autocast():
    loss, inputs = built(), batch(6)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(*inputs)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(*inputs), rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
@pytest.mark.parametrize('raw', [-60., -9., 0., 9.])
def test_half_precision_on_a_gpu(options, raw):
    loss = built(**options).cuda().half()
    pred, _, target = (x.cuda().half() for x in batch(7))
    sigma = torch.full_like(pred, raw)
    with torch.autocast('cuda', dtype=torch.float16):
        assert loss(pred, sigma, target).isfinite()
    if raw >= 0:
        assert all(g.isfinite().all() for g in gradients(loss, pred, sigma, target)[1])


def test_gradients():
    """Autograd against finite differences, in double, for both simple densities."""
    for options in OPTIONS:
        loss = built(**options).double()
        pred, sigma, target = batch(8, 2, 2, torch.float64)
        assert torch.autograd.gradcheck(lambda p, s: loss(p, s, target), (pred.requires_grad_(), sigma.requires_grad_()))


def test_by_hand():
    """A flow that bends nothing, sigma 0.1, an error of one doubt in x and none in y."""
    raw = torch.full((1, 1, 2), -math.log(9))  # sigmoid: 0.1
    pred, label = torch.tensor([[[.5, .5]]]), torch.tensor([[[.6, .5]]])
    flow = 2 * (math.log(.1) + .5 + math.log(2 * math.pi))
    for options, simple in ((dict(residual=False), 0), (dict(), 2 * math.log(.2) + 1),
                            (dict(q_distribution='gaussian'), math.log(.1**2 * 2 * math.pi) + .5)):
        loss = RLELoss(**options)
        for parameter in loss.parameters():
            torch.nn.init.zeros_(parameter)
        assert loss(pred, raw, label).item() == pytest.approx(flow + simple, abs=1e-4)


def test_a_sigma_below_the_bound_may_grow_again():
    raw = torch.full((1, 1, 2), -12., requires_grad=True)
    RLELoss()(torch.zeros(1, 1, 2), raw, torch.full((1, 1, 2), .3)).backward()
    assert (raw.grad < -1).all()


def test_flow_is_a_density():
    flow = built().flow_model.double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter *= .6
    ticks = torch.linspace(-12, 12, 241, dtype=torch.float64)
    with torch.no_grad():
        assert abs(flow.log_prob(torch.cartesian_prod(ticks, ticks)).exp().sum() * .1**2 - 1) < 1e-3
        points = flow.sample(50, torch.Generator().manual_seed(0))
        noise, log_det = flow.to_noise(points)
        torch.testing.assert_close(flow.from_noise(noise), points)
    found = torch.stack([torch.autograd.functional.jacobian(lambda p: flow.to_noise(p[None])[0][0], p).det() for p in points[:5]])
    torch.testing.assert_close(found.log(), log_det[:5])
    assert flow.log_prob(points[:0]).shape == (0,)


def test_state_dict():
    """The keys and shapes that published checkpoints hold; the fresh flow is nearly the normal distribution."""
    state = MODELS.build(dict(type='RLELoss', use_target_weight=True)).state_dict()
    shapes = {'0.weight': (64, 2), '0.bias': (64,), '2.weight': (64, 64), '2.bias': (64,), '4.weight': (2, 64), '4.bias': (2,)}
    wanted = {f'flow_model.{net}.{i}.{key}': shape for net in 'st' for i in range(6) for key, shape in shapes.items()}
    wanted |= {'flow_model.loc': (2,), 'flow_model.cov': (2, 2), 'flow_model.mask': (6, 2)}
    assert {key: tuple(value.shape) for key, value in state.items()} == wanted
    assert state['flow_model.mask'].tolist() == [[0, 1], [1, 0]] * 3
    torch.manual_seed(0)
    assert abs(RealNVP().log_prob(torch.zeros(1, 2)).item() + math.log(2 * math.pi)) < 1.5


@pytest.mark.parametrize('call, message', [
    (lambda: RLELoss(q_distribution='strict'), 'q_distribution'),
    (lambda: RLELoss(min_sigma=0), 'min_sigma'), (lambda: RLELoss(min_sigma='0'), 'min_sigma must be a number'),
    (lambda: RLELoss()([1.], [1.], [1.]), 'pred must be a tensor'),
    (lambda: RLELoss()(batch(0)[0], batch(0)[1].numpy(), batch(0)[2]), 'sigma must be a tensor'),
    (lambda: RLELoss(use_target_weight=True)(*batch(0)), 'target_weight'),
    (lambda: RLELoss()(*(torch.rand(2, 3, 3) for _ in range(3))), r'\(B, K, 2\)'),
    (lambda: RLELoss()(torch.rand(2, 3, 2), torch.rand(2, 3, 1), torch.rand(2, 3, 2)), r'\(2, 3, 1\)'),
    (lambda: RLELoss(use_target_weight=True)(*batch(0), torch.ones(4, 6)), r'\(4, 6\)'),
])
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
