"""Routers that start open, and learn to close."""

import pytest
import torch

from sma.architectures.specs.routers import GumbelSpec, LatentConfiguratorSpec, SigmoidSpec
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
