"""Every router with every compaction and every sub-module: a layer is what its definition says."""

import pytest
import torch

from sma import SMA, CapacityCompaction, PackedCompaction, PaddedCompaction, Pointwise
from sma.modules import (
    S4D,
    AlwaysActive,
    CausalConvolution,
    ExpertChoiceRouter,
    FeedForward,
    GatedFeedForward,
    GumbelRouter,
    LatentConfigurator,
    MultiHeadAttention,
    MultiHeadEMA,
    NeverActive,
    RandomRouter,
    SigmoidRouter,
    SSMSubModule,
    TopKRouter,
)
from sma.modules.adapters import SequenceSubModule
from sma.modules.attention.gau import GAU
from sma.modules.attention.positions import RankBias, Rotary
from sma.testing import Layout, oracle
from sma.testing.contract import assert_close, assert_finite, assert_zero, gradients, prepare, probe

D = 8
ROUTERS = {
    "latent configurator": lambda: LatentConfigurator(D, n_modules=2),
    "sigmoid": lambda: SigmoidRouter(D, n_modules=2),
    "gumbel": lambda: GumbelRouter(D, n_modules=2),
    "top-k": lambda: TopKRouter(D, n_modules=2, top_k=1, normalize=False),
    "expert choice": lambda: ExpertChoiceRouter(D, n_modules=2, capacity=0.4),
    "always": lambda: AlwaysActive(2),
    "never": lambda: NeverActive(2),
    "random": lambda: RandomRouter(2, rate=0.6),
}
COMPACTIONS = {
    "packed": PackedCompaction,
    "padded": PaddedCompaction,
    "capacity": lambda: CapacityCompaction(12),
}
SUB_MODULES = {
    "pointwise": lambda: Pointwise(torch.nn.Linear(D, D)),
    "feed-forward": lambda: FeedForward(D, d_hidden=12),
    "gated feed-forward": lambda: GatedFeedForward(D, d_hidden=12),
    "convolution": lambda: CausalConvolution(D, kernel_size=3),
    "attention": lambda: MultiHeadAttention(D, n_heads=2, window=2),
    "ssm": lambda: SSMSubModule(MultiHeadEMA(D, d_state=2)),
    "sequence": lambda: SequenceSubModule(S4D(D, d_state=2)),
    "gau": lambda: GAU(D, d_qk=4, window=2, position=Rotary(4)),
    "bidirectional gau": lambda: GAU(
        D, d_qk=4, window=2, bidirectional=True, attention="laplace", position=RankBias(2, bidirectional=True)
    ),
}

WAIT = {"ssm", "sequence"}
"""Spread elements over rows whose length they must know; the others wait for nothing."""


@pytest.mark.parametrize("sub_module", SUB_MODULES)
@pytest.mark.parametrize("compaction", COMPACTIONS)
@pytest.mark.parametrize("router", ROUTERS)
def test_layer(router, compaction, sub_module):
    layer = prepare(
        lambda: SMA(
            ROUTERS[router](),
            [SUB_MODULES[sub_module]() for _ in range(2)],
            compaction=COMPACTIONS[compaction](),
        ),
        seed=1,
    )
    layout = Layout((7, 0, 12, 1), padding=1, left=True, seed=2)
    x = layout.x(D).requires_grad_()

    y = layer(x, layout.mask)

    routing = layer.router(x, layout.mask)
    assert_close(y, oracle(x, routing, list(layer.sub_modules), layout.mask), "the oracle (property 3)")
    assert_zero(y[~routing.active.any(-1)], "the result where nothing is active (property 1)")
    for name, gradient in gradients(probe(y), layer).items():
        assert_finite(gradient, f"the gradient of {name} (property 6)")
    assert_zero(x.grad[~layout.real], "the gradient of padding (property 4)")
    for b, span in enumerate(layout.spans):
        assert_close(layer(x[b : b + 1, span])[0], y[b, span], "a row alone (property 4)")
    if layer.causal:
        _check_steps(layer, x.detach(), layout, y)


@pytest.mark.parametrize("router", ["latent configurator", "sigmoid", "gumbel"])
@pytest.mark.parametrize("compaction", COMPACTIONS)
def test_a_learned_router_that_activates_nothing(router, compaction):
    layer = SMA(
        ROUTERS[router](), [GAU(D, d_qk=4, window=2)] * 2, compaction=COMPACTIONS[compaction]()
    ).eval()
    for parameter in layer.router.parameters():
        torch.nn.init.zeros_(parameter)  # on the threshold, which does not activate
    y = layer(torch.randn(2, 5, D))
    assert_zero(y, "the result")
    for name, gradient in gradients(probe(y), layer).items():
        assert_zero(gradient, f"the gradient of {name} (property 6)")


@pytest.mark.parametrize("sub_module", sorted(SUB_MODULES.keys() - WAIT))
@pytest.mark.parametrize("router", ROUTERS)
def test_static_shapes_need_no_values(router, sub_module, monkeypatch):
    """On the meta device nothing can wait for a value, nor mix in a tensor of another device."""
    autocast = torch.autocast  # knows no meta device
    monkeypatch.setattr(
        torch, "autocast", lambda kind, **options: autocast("cpu" if kind == "meta" else kind, **options)
    )
    sub_modules = [SUB_MODULES[sub_module]() for _ in range(2)]
    layer = SMA(ROUTERS[router](), sub_modules, compaction=CapacityCompaction(4)).to("meta")
    x = torch.empty(2, 5, D, device="meta", requires_grad=True)
    layer(x, torch.empty(2, 5, dtype=torch.bool, device="meta")).sum().backward()
    assert x.grad.shape == x.shape


def _check_steps(layer, x, layout, y):
    with torch.no_grad():
        state = layer.init_state(len(x), dtype=x.dtype)
        mask = layout.real
        pieces = zip(x.split([3, 5, 1, 1, 3], 1), mask.split([3, 5, 1, 1, 3], 1), strict=True)
        steps = torch.cat([layer.step(piece, state, real) for piece, real in pieces], 1)
    assert_close(steps[mask], y[mask], "step by step (property 8)")
