import math
from itertools import product

import pytest
import torch
from random_routers import D, batch, make

from sma import Pointwise, SparseModularActivation
from sma.modules.routers.pointwise import GumbelRouter, LatentConfigurator, SigmoidRouter
from sma.testing import RouterContract

M = 3
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


def test_latent_configurator_is_a_tempered_softmax():
    router = make(LatentConfigurator, M)
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
    router = make(SigmoidRouter, M, threshold=threshold)
    x, mask = batch()
    routing = router(x, mask)
    probability = 1 / (1 + torch.exp(-(x[mask] @ router.projection.weight.T + router.projection.bias)))
    torch.testing.assert_close(routing.confidence[mask], probability)
    assert (routing.active[mask] == (probability > threshold)).all()
    assert not routing.active[~mask].any()


def test_gumbel_router_is_deterministic_in_evaluation():
    router = make(GumbelRouter, M).eval()
    x, mask = batch()
    routing = router(x, mask)
    logits = x[mask] @ router.projection.weight.T + router.projection.bias
    assert (routing.active[mask] == (logits > 0)).all()
    torch.testing.assert_close(routing.confidence, routing.active.double())


def test_gumbel_router_samples_with_the_probability_of_its_logits():
    router = make(GumbelRouter, M)
    x = torch.randn(1, 1, D, dtype=torch.float64)
    rates = router(x.expand(1, 20_000, D)).active.double().mean(1)[0]
    torch.testing.assert_close(
        rates, (router.projection(x)[0, 0]).sigmoid(), atol=0.02, rtol=0, check_dtype=False
    )


def test_gumbel_gradient_is_that_of_the_relaxed_sample():
    router = make(GumbelRouter, M, temperature=0.7)
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
    router = make(kind, M).eval()
    x, mask = batch()
    x.requires_grad_()
    routing = router(x, mask)
    routing.confidence[routing.active].sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in router.parameters())
    assert (x.grad[~mask] == 0).all()


@pytest.mark.parametrize("kind", [LatentConfigurator, SigmoidRouter])
def test_gradcheck(kind):
    router = make(kind, M)
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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LatentConfigurator(D, init_temperature_scale=0), "init_temperature_scale.*0"),
        (lambda: SigmoidRouter(D, threshold=1.0), r"threshold must be in \[0, 1\)"),
        (lambda: GumbelRouter(D, temperature=-1.0), "temperature must be positive"),
        (lambda: LatentConfigurator(D, n_modules=0), "n_modules=0 must be an integer of at least 1"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_gradient_flows_only_through_active_confidence():
    """The router's gradient from a layer's output is that of the active confidences, element by element."""
    router = make(LatentConfigurator, M)
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
