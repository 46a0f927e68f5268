import math
from itertools import product

import pytest
import torch

from sma import Pointwise, SparseModularActivation
from sma.modules.routers.fixed import AlwaysActive
from sma.modules.routers.pointwise import ActivationBudget, GumbelRouter, LatentConfigurator, SigmoidRouter
from sma.modules.routers.top_k import ExpertChoiceRouter
from sma.testing import RouterContract

D, M = 6, 3
INDEPENDENT = [LatentConfigurator, SigmoidRouter, GumbelRouter]


class TestLatentConfigurator(RouterContract):
    def make(self):
        return LatentConfigurator(self.d_model, n_modules=2)


class TestSigmoidRouter(RouterContract):
    def make(self):
        return SigmoidRouter(self.d_model, n_modules=2)


class TestGumbelRouter(RouterContract):
    smooth = False

    def make(self):
        return GumbelRouter(self.d_model, n_modules=2)


class TestActivationBudget(RouterContract):
    def make(self):
        return ActivationBudget(LatentConfigurator(self.d_model), rate=0.3, coefficient=1.0)


def make(kind, **arguments):
    """A router in float64 with random parameters."""
    router = kind(D, n_modules=M, **arguments).double()
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return router


def batch(lengths=(5, 2, 0)):
    x = torch.randn(len(lengths), max(lengths), D, dtype=torch.float64)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return x.masked_fill(~mask[..., None], float("nan")), mask


def test_latent_configurator_is_a_tempered_softmax():
    router = make(LatentConfigurator)
    x, mask = batch()
    routing = router(x, mask)
    temperature = router.log_temperature.exp().item()
    for b, t in product(range(3), range(5)):
        if not mask[b, t]:
            assert not routing.active[b, t].any()
            continue
        logits = (router.projection.weight @ x[b, t] + router.projection.bias).tolist()
        for m in range(M):
            skip, activate = (math.exp(logits[2 * m + i] / temperature) for i in (0, 1))
            assert routing.confidence[b, t, m].item() == pytest.approx(activate / (skip + activate))
            assert routing.active[b, t, m].item() == (activate > skip)


def test_latent_configurator_initialisation():
    router = LatentConfigurator(64, n_modules=M, init_temperature_scale=0.3)
    assert router.log_temperature.exp().item() == pytest.approx(0.3 * 8)
    assert router.projection.weight.abs().max() <= 0.04
    assert router.projection.weight.std().item() == pytest.approx(0.02 * 0.88, rel=0.15)  # cut at two std
    assert (router.projection.bias == 0).all()


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_ties_are_inactive(kind):
    router = kind(D, n_modules=M).eval()
    torch.nn.init.zeros_(router.projection.weight)
    assert not router(torch.randn(2, 4, D)).active.any()


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9])
def test_sigmoid_router(threshold):
    router = make(SigmoidRouter, threshold=threshold)
    x, mask = batch()
    routing = router(x, mask)
    probability = 1 / (1 + torch.exp(-(x[mask] @ router.projection.weight.T + router.projection.bias)))
    torch.testing.assert_close(routing.confidence[mask], probability)
    assert (routing.active[mask] == (probability > threshold)).all()
    assert not routing.active[~mask].any()


def test_gumbel_router_is_deterministic_in_evaluation():
    router = make(GumbelRouter).eval()
    x, mask = batch()
    routing = router(x, mask)
    logits = x[mask] @ router.projection.weight.T + router.projection.bias
    assert (routing.active[mask] == (logits > 0)).all()
    torch.testing.assert_close(routing.confidence, routing.active.double())


def test_gumbel_router_samples_with_the_probability_of_its_logits():
    router = make(GumbelRouter)
    x = torch.randn(1, 1, D, dtype=torch.float64)
    rates = router(x.expand(1, 20_000, D)).active.double().mean(1)[0]
    torch.testing.assert_close(
        rates, (router.projection(x)[0, 0]).sigmoid(), atol=0.02, rtol=0, check_dtype=False
    )


def test_gumbel_gradient_is_that_of_the_relaxed_sample():
    router = make(GumbelRouter, temperature=0.7)
    x, mask = batch()
    weight = torch.randn(3, 5, M, dtype=torch.float64)
    torch.manual_seed(3)
    (router(x, mask).confidence * weight)[mask].sum().backward()
    actual = router.projection.weight.grad.clone()
    router.zero_grad()

    torch.manual_seed(3)
    noise = torch.rand(3, 5, M, dtype=torch.float64)
    gumbel = noise.log() - (1 - noise).log()
    logits = router.projection(torch.where(mask[..., None], x, 0)) + gumbel
    (torch.sigmoid(logits / 0.7) * weight)[mask].sum().backward()
    torch.testing.assert_close(actual, router.projection.weight.grad)


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_every_subset_is_reachable(kind):
    """A bias alone selects any subset, at every element."""
    x = torch.randn(2, 4, D)
    for subset in product((False, True), repeat=M):
        router = kind(D, n_modules=M).eval()
        torch.nn.init.zeros_(router.projection.weight)
        wanted = torch.tensor(subset)
        bias = torch.where(wanted, 1.0, -1.0)
        if kind is LatentConfigurator:
            bias = torch.stack([-bias, bias], -1).flatten()
        router.projection.bias.data.copy_(bias)
        assert (router(x).active == wanted).all()


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_padding_leaks_into_no_gradient(kind):
    router = make(kind).eval()
    x, mask = batch()
    x.requires_grad_()
    routing = router(x, mask)
    routing.confidence[routing.active].sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in router.parameters())
    assert (x.grad[~mask] == 0).all()


@pytest.mark.parametrize("kind", [LatentConfigurator, SigmoidRouter])
def test_gradcheck(kind):
    router = make(kind)
    x = torch.randn(2, 3, D, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    run = lambda x, *_: router(x, mask).confidence[mask]  # noqa: E731
    assert torch.autograd.gradcheck(run, (x, *router.parameters()))


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_half_precision_decides_as_float32_would(kind):
    router = kind(D, n_modules=M).bfloat16().eval()
    x = torch.randn(4, 50, D).bfloat16()
    routing = router(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = router(x)
    exact = router.float()(x.float())
    for half in (routing, autocast):
        assert half.confidence.dtype == torch.float32
        assert (half.active == exact.active).all()
        torch.testing.assert_close(half.confidence, exact.confidence, rtol=0, atol=1e-6)


def test_budget_is_evaluated_on_the_realised_rate():
    inner = make(LatentConfigurator)
    router = ActivationBudget(inner, rate=0.3, coefficient=2.0)
    x, mask = batch()
    routing, plain = router(x, mask), inner(x, mask)
    rates = [plain.active[..., m].sum().item() / 7 for m in range(M)]
    expected = 2 * sum((rate - 0.3) ** 2 for rate in rates) / M
    assert routing.losses["activation_budget"].item() == pytest.approx(expected)
    assert (routing.active == plain.active).all()
    torch.testing.assert_close(routing.confidence, plain.confidence, equal_nan=True)


def test_budget_with_a_rate_per_module():
    targets = [0.1 + 0.2 * m for m in range(M)]
    inner = make(LatentConfigurator)
    x, mask = batch()
    routing = ActivationBudget(inner, rate=targets, coefficient=2.0)(x, mask)
    realised = routing.active[mask].double().mean(0).tolist()
    expected = 2 * sum((rate - target) ** 2 for rate, target in zip(realised, targets, strict=True)) / M
    assert routing.losses["activation_budget"].item() == pytest.approx(expected)


def test_budget_is_differentiated_as_the_mean_confidence():
    inner = make(LatentConfigurator)
    router = ActivationBudget(inner, rate=0.3, coefficient=2.0)
    x, mask = batch()
    loss = router(x, mask).losses["activation_budget"]
    actual = torch.autograd.grad(loss, list(inner.parameters()))
    routing = inner(x, mask)
    rate = routing.active[mask].double().mean(0)
    surrogate = (2 * 2 / M * (rate - 0.3) * routing.confidence[mask].mean(0)).sum()
    for a, e in zip(actual, torch.autograd.grad(surrogate, list(inner.parameters())), strict=True):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize("kind", INDEPENDENT)
@pytest.mark.parametrize("rate", [0.1, 0.8])
def test_the_budget_alone_reaches_its_rate(kind, rate):
    router = ActivationBudget(make(kind), rate=rate, coefficient=1.0)
    x = torch.randn(1, 500, D, dtype=torch.float64)
    optimizer = torch.optim.Adam(router.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        router(x).losses["activation_budget"].backward()
        optimizer.step()
    rates = router.eval()(x).active.double().mean((0, 1))
    # Sampling in training spreads decisions: at a rate of 0.1 the more probable choice is mostly to skip.
    assert (rates - rate).abs().max() < (0.25 if kind is GumbelRouter else 0.05)


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_budget_without_real_elements(shape):
    router = ActivationBudget(make(LatentConfigurator), rate=0.3, coefficient=1.0)
    loss = router(torch.zeros(*shape, D, dtype=torch.float64)).losses["activation_budget"]
    assert loss == 0
    loss.backward()
    assert all((parameter.grad == 0).all() for parameter in router.parameters())


def test_budget_keeps_the_other_losses_and_the_wrapped_direction():
    inner = ExpertChoiceRouter(D, n_modules=M, capacity=0.5, d_predictor=4)
    router = ActivationBudget(inner, rate=0.3, coefficient=1.0)
    assert not router.causal
    routing = router(torch.randn(2, 4, D))
    assert set(routing.losses) == {"activation_budget", "choice_predictor"}
    state = router.init_state(2)
    x = torch.randn(2, 1, D)
    assert (router.step(x, state).active == inner.step(x, state).active).all()
    with pytest.raises(NotImplementedError, match="d_predictor"):
        ActivationBudget(
            ExpertChoiceRouter(D, n_modules=M, capacity=0.5), rate=0.3, coefficient=1.0
        ).init_state(2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LatentConfigurator(D, init_temperature_scale=0), "init_temperature_scale.*0"),
        (lambda: SigmoidRouter(D, threshold=1.0), r"threshold must be in \[0, 1\)"),
        (lambda: GumbelRouter(D, temperature=-1.0), "temperature must be positive"),
        (lambda: LatentConfigurator(D, n_modules=0), "n_modules=0 must be an integer of at least 1"),
        (lambda: ActivationBudget(AlwaysActive(1), rate=2.0, coefficient=1.0), r"rate.*2\.0"),
        (lambda: ActivationBudget(AlwaysActive(2), rate=(0.5, -1.0), coefficient=1.0), r"rate.*-1\.0"),
        (lambda: ActivationBudget(AlwaysActive(2), rate=(0.5,), coefficient=1.0), "1 entries.* 2 modules"),
        (lambda: ActivationBudget(AlwaysActive(1), rate=0.2, coefficient=-1.0), "coefficient"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_gradient_flows_only_through_active_confidence():
    """The router's gradient from a layer's output is that of the active confidences, element by element."""
    router = make(LatentConfigurator)
    layer = SparseModularActivation(router, [Pointwise(torch.nn.Identity()) for _ in range(M)])
    x, mask = batch()
    weight = torch.randn(3, 5, D, dtype=torch.float64)
    (layer(x, mask) * weight).sum().backward()
    actual = router.projection.weight.grad.clone()
    router.zero_grad()
    routing = router(x, mask)
    total = sum(
        routing.confidence[b, t, m] * (x[b, t] * weight[b, t]).sum()
        for b, t, m in routing.active.nonzero().tolist()
    )
    total.backward()
    assert (actual != 0).any()
    torch.testing.assert_close(actual, router.projection.weight.grad)
