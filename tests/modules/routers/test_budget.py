import pytest
import torch
from random_routers import D, batch, make

from sma.modules.routers.budget import ActivationBudget
from sma.modules.routers.fixed import AlwaysActive
from sma.modules.routers.pointwise import GumbelRouter, LatentConfigurator, SigmoidRouter
from sma.modules.routers.top_k import ExpertChoiceRouter
from sma.testing import RouterContract

M = 3
INDEPENDENT = [LatentConfigurator, SigmoidRouter, GumbelRouter]


class TestActivationBudget(RouterContract):
    def make(self):
        return ActivationBudget(LatentConfigurator(self.d_model), rate=0.3, coefficient=1.0)


def test_budget_is_evaluated_on_the_realised_rate():
    inner = make(LatentConfigurator, M)
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
    inner = make(LatentConfigurator, M)
    x, mask = batch()
    routing = ActivationBudget(inner, rate=targets, coefficient=2.0)(x, mask)
    realised = routing.active[mask].double().mean(0).tolist()
    expected = 2 * sum((rate - target) ** 2 for rate, target in zip(realised, targets, strict=True)) / M
    assert routing.losses["activation_budget"].item() == pytest.approx(expected)


def test_budget_is_differentiated_as_the_mean_confidence():
    inner = make(LatentConfigurator, M)
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
    router = ActivationBudget(make(kind, M), rate=rate, coefficient=1.0)
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
    router = ActivationBudget(make(LatentConfigurator, M), rate=0.3, coefficient=1.0)
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
        (lambda: ActivationBudget(AlwaysActive(1), rate=2.0, coefficient=1.0), r"rate.*2\.0"),
        (lambda: ActivationBudget(AlwaysActive(2), rate=(0.5, -1.0), coefficient=1.0), r"rate.*-1\.0"),
        (lambda: ActivationBudget(AlwaysActive(2), rate=(0.5,), coefficient=1.0), "1 entries.* 2 modules"),
        (lambda: ActivationBudget(AlwaysActive(1), rate=0.2, coefficient=-1.0), "coefficient"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
