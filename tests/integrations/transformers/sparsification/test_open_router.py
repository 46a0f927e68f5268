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
from sma.transformers.sparsification.open_router import StraightThrough, open_router

OPTIONS = {"rate": 0.25, "over": 0.5, "coefficient": 2.0, "logit": 2.0}


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


def test_the_gradient_is_that_of_the_confidence():
    inner = SigmoidRouter(4)
    x = torch.randn(1, 5, 4)
    weights = torch.randn(1, 5, 1)
    gradients = []
    for router in (inner, StraightThrough(inner)):
        inner.zero_grad()
        (router(x).confidence * weights).sum().backward()
        gradients.append(inner.projection.weight.grad.clone())
    torch.testing.assert_close(*gradients)
    assert torch.equal(StraightThrough(inner)(x).active, inner(x).active)
