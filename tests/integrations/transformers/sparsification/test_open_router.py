"""Routers that start open, and learn to close."""

import re

import pytest
import torch

from sma.architectures.specs.routers import (
    ActivationBudgetSpec,
    AlwaysActiveSpec,
    ExpertChoiceSpec,
    GumbelSpec,
    LatentConfiguratorSpec,
    NeverActiveSpec,
    RandomSpec,
    SigmoidSpec,
    TopKSpec,
)
from sma.modules import SigmoidRouter, set_progress
from sma.modules.routers.shared_budget import PartRates
from sma.routing import Router
from sma.transformers.sparsification.open_router import Saturating, open_router

OPTIONS = {
    "rate": 0.25,
    "over": 0.5,
    "coefficient": 2.0,
    "logit": 2.0,
    "rates": PartRates([5]),
    "part": 0,
}


@pytest.mark.parametrize(
    "spec", [SigmoidSpec(), SigmoidSpec(threshold=0.95), LatentConfiguratorSpec(), GumbelSpec()]
)
def test_it_starts_open_and_its_budget_moves(spec):
    router = open_router(spec, 8, **OPTIONS).eval()
    x = 100 * torch.randn(2, 7, 8)
    for progress, target in ((0.0, 1.0), (0.25, 0.625), (1.0, 0.25)):
        set_progress(router, progress)
        routing = router(x)
        assert routing.active.all()
        assert (routing.confidence == 1).all()
        loss = routing.losses["activation_budget"]
        assert loss.item() == pytest.approx(2.0 * (1 - target) ** 2)
    loss.backward()
    bias = next(p for name, p in router.named_parameters() if name.endswith("projection.bias"))
    assert bias.grad[-1] > 0  # a step against it closes the router


@pytest.mark.parametrize(
    ("spec", "rate"),
    [
        (AlwaysActiveSpec(), 1),
        (NeverActiveSpec(), 0),
        (RandomSpec(rate=0.9), 0.9),
        (ExpertChoiceSpec(capacity=0.75), 0.75),
        (ExpertChoiceSpec(capacity=0.125), 0.125),
        (TopKSpec(top_k=1, normalize=False), 1),
    ],
)
def test_a_rate_that_a_router_cannot_reach(spec, rate):
    remedy = f"; set rate={rate}, or use a router that learns" if rate else "; use a router that learns"
    message = (
        f"rate=0.25, but router '{spec.kind}' activates {rate} of the tokens, whatever it learns{remedy}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        open_router(spec, 8, **OPTIONS)
    if rate:
        active = open_router(spec, 8, **{**OPTIONS, "rate": rate})(torch.randn(2, 1000, 8)).active
        assert active.float().mean().item() == pytest.approx(rate, abs=0.05)


def test_a_router_has_one_budget():
    inside = ActivationBudgetSpec(router=SigmoidSpec(), rate=0.25, coefficient=1.0)
    with pytest.raises(ValueError, match=r"'activation_budget' has a budget.*name the router inside it"):
        open_router(inside, 8, **OPTIONS)


def test_the_confidence_saturates():
    """It is 0 up to the threshold, 1 from another value on, on a line between; its gradient is p's."""
    inner = SigmoidRouter(1, threshold=0.4)
    torch.nn.init.ones_(inner.projection.weight)
    torch.nn.init.zeros_(inner.projection.bias)
    p = torch.tensor([0.1, 0.4, 0.45, 0.5, 0.6, 0.7, 0.95])
    x = p.logit().view(1, -1, 1).requires_grad_()
    routing = Saturating(inner, threshold=0.4, full=0.6)(x)
    torch.testing.assert_close(routing.confidence.flatten(), torch.tensor([0, 0, 0.25, 0.5, 1, 1, 1]))
    assert torch.equal(routing.active, inner(x).active)
    routing.confidence.sum().backward()
    torch.testing.assert_close(x.grad.flatten(), p * (1 - p))


def test_a_router_of_another_package_counts_in_full():
    """Where its confidence begins is not known."""

    class Spec(SigmoidSpec):
        def build(self, d_model, n_modules):
            return Mine(d_model, n_modules=n_modules)

    class Mine(Router):
        element_wise = True

        def __init__(self, d_model, n_modules):
            super().__init__(n_modules)
            self.inner = SigmoidRouter(d_model, n_modules=n_modules, threshold=0.1)

        def forward(self, x, mask=None):
            return self.inner(x, mask)

    router = open_router(Spec.model_construct(), 8, **OPTIONS)
    routing = router(torch.randn(1, 50, 8))
    assert torch.equal(routing.confidence, routing.active.float())
