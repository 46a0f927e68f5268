"""The contract suite of routers."""

from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.activation import SparseModularActivation
from sma.capacity import Share
from sma.routing import Router, Routing
from sma.state import State
from sma.sub_module import Pointwise
from sma.testing.contract import assert_close, assert_finite, assert_same, gradients, probe, property_test
from sma.testing.row_contract import RowContract
from sma.testing.strategies import Draw, Layout, layouts

Subset = tuple[bool, ...]


class RouterContract(RowContract[Router]):
    """The properties of every router; numbers refer to the list in docs/design.md.

    Derive a class in a test file, and say how to make the router.

    Example:
        >>> from sma.testing import InputRouter
        >>> class TestInputRouter(RouterContract):
        ...     def make(self):
        ...         return InputRouter(2)
        >>> TestInputRouter().test_coverage()
    """

    jumps = True
    junk = 1e3  # a layer hands its router zeros as padding; NaN need not come through backward

    def reachable(self, n_modules: int) -> set[Subset]:
        """The subsets of sub-modules that an element can activate: all, unless overridden."""
        return set(product((False, True), repeat=n_modules))

    @override
    def run(self, module: Any, x: Tensor, mask: Tensor | None) -> Tensor:
        """Decisions, and confidences where active, side by side: `(B, L, 2 M)`."""
        return _observe(module(x, mask), x)

    @override
    def step(self, module: Any, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        """The same of the next elements."""
        return _observe(module.step(x, state, mask), x)

    @property_test
    def test_values(self, draw: Draw) -> None:
        """Padding is inactive, `max_rate` holds, confidences lie in [0, 1], and losses are finite scalars."""
        layout = draw(layouts(max_length=self.max_length))
        router = self.build(layout.seed)
        routing = router(self.inputs(draw, layout), layout.mask)
        assert_same(routing.active.shape, (*layout.shape, router.n_modules), "shape")
        assert not routing.active[~layout.real].any(), "a router must not activate padding"
        n_active, n_real = routing.active.sum((1, 2)), layout.real.sum(1)
        at_most = router.n_modules * Share.of(router.max_rate).round_up(n_real)
        assert bool((n_active <= at_most).all()), f"max_rate={router.max_rate}, but it activates more"
        confidence = routing.confidence[layout.real]
        assert bool(((confidence >= 0) & (confidence <= 1)).all()), "confidences must lie in [0, 1]"
        for name, loss in routing.losses.items():
            assert loss.shape == (), f"loss {name} must be a scalar, got {tuple(loss.shape)}"
            assert_finite(loss, f"loss {name}")

    @property_test
    def test_losses_ignore_padding(self, draw: Draw) -> None:
        """Property 4: losses and their gradients are those of the real elements, however they are padded."""
        layout = draw(layouts(max_length=self.max_length))
        router = self.build(layout.seed)
        moved = replace(layout, padding=layout.padding + 2, left=not layout.left)
        results = []
        for each in (layout, moved):
            routing = router(each.x(self.d_model, fill=self.junk), each.mask)
            unweighted = 0 * routing.confidence[routing.active].sum()  # a loss may leave parameters out
            grads = gradients(sum(routing.losses.values(), unweighted), router)
            results.append({**routing.losses, **{f"gradient of {name}": g for name, g in grads.items()}})
        for name, value in results[0].items():
            assert_close(results[1][name], value, f"{name}, with other padding")

    @property_test
    def test_gradient_through_confidence(self, draw: Draw) -> None:
        """Property 6: in a layer, the router's gradient is exactly that of the active confidences."""
        layout = draw(layouts(min_rows=1, max_length=self.max_length))
        router, x = self.build(layout.seed), self.inputs(draw, layout, fill=0.5)
        layer = SparseModularActivation(router, [Pointwise(nn.Identity())] * router.n_modules)
        got = gradients(probe(layer(x, layout.mask)), router)
        routing = router(x, layout.mask)
        weighted = torch.where(routing.active, routing.confidence, 0).sum(-1, keepdim=True) * x
        want = gradients(probe(weighted), router)
        for name in want:
            assert_close(got[name], want[name], f"gradient of {name}")

    def test_coverage(self) -> None:
        """Property 12: every subset of sub-modules is reachable by some parameters, and no other."""
        reached: set[Subset] = set()
        for seed in range(30):
            router = self.build(seed)
            x = 4 * Layout((16,), seed=seed).x(self.d_model)
            reached |= {tuple(row) for row in router(x).active.flatten(0, 1).tolist()}
        assert_same(reached, self.reachable(router.n_modules), "subsets that elements activate")


def _observe(routing: Routing, x: Tensor) -> Tensor:
    confidence = torch.where(routing.active, routing.confidence, 0)
    return torch.cat([routing.active.to(x.dtype), confidence.to(x.dtype)], -1)
