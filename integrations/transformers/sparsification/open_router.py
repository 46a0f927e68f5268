"""Routers that start open: every token active with confidence 1, so that a model starts as it was."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.architectures.specs.families import RouterSpec
from sma.modules.routers.budget import ActivationBudget
from sma.modules.routers.fixed import AlwaysActive, NeverActive, RandomRouter
from sma.modules.routers.pointwise import GumbelRouter, LatentConfigurator, SigmoidRouter
from sma.modules.routers.ramp import Ramp
from sma.modules.routers.top_k import ExpertChoiceRouter, TopKRouter
from sma.recomputation import replayed
from sma.routing import Router, Routing
from sma.state import State


class StraightThrough(Router):
    r"""Any router, whose confidence is exactly 1 where it is active, and has the gradient that it had.

    $$ c_t = a_t + p_t - \text{stop-gradient}(p_t) $$

    with decisions a and confidence p of the router (the straight-through estimator,
    https://arxiv.org/abs/1308.3432): what is computed counts in full, as in the model before.

    Args:
        router: the router.

    Example:
        >>> router = StraightThrough(SigmoidRouter(16))
        >>> routing = router(torch.randn(2, 5, 16))
        >>> bool((routing.confidence == routing.active).all()), routing.confidence.requires_grad
        (True, True)
    """

    def __init__(self, router: Router) -> None:
        super().__init__(router.n_modules)
        self.router = router
        self.max_rate = router.max_rate

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        return _certain(self.router(x, mask))

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.router.init_state(batch_size, device=device, dtype=dtype)

    @override
    def step(self, x: Tensor, state: State, mask: Tensor | None = None) -> Routing:
        return _certain(self.router.step(x, state, mask))


def open_router(
    spec: RouterSpec, d_model: int, *, rate: float, over: float, coefficient: float, logit: float
) -> Router:
    """A router of one module that starts open, with a budget that moves from 1 to a rate.

    Routers without parameters, such as `random`, are the spec's own: they have nothing to learn.

    Args:
        spec: of the router.
        d_model: D.
        rate: the share of tokens that the budget ends at.
        over: the share of training that it takes to get there.
        coefficient: of the budget.
        logit: by which every token is active at first.

    Raises:
        ValueError: if the router cannot reach the rate, or has a budget already.

    Example:
        >>> from sma.architectures.specs.routers import SigmoidSpec
        >>> router = open_router(SigmoidSpec(), 8, rate=0.5, over=0.5, coefficient=1.0, logit=2.0)
        >>> routing = router(torch.randn(1, 3, 8))
        >>> routing.active.flatten().tolist(), routing.confidence.flatten().tolist()
        ([True, True, True], [1.0, 1.0, 1.0])
    """
    router = spec.build(d_model, 1)
    if any(isinstance(part, ActivationBudget) for part in router.modules()):
        raise ValueError(
            f"router {spec.kind!r} has a budget, and every router of a sparsified model is given one; name "
            "the router inside it, and set rate and coefficient beside it"
        )
    _check_rate(router, spec.kind, rate)
    if not any(True for _ in router.parameters()):
        return router
    _open(router, logit)
    certain = router if isinstance(router, GumbelRouter) else StraightThrough(router)
    return ActivationBudget(certain, rate=Ramp(1.0, rate, over), coefficient=coefficient)


def _check_rate(router: Router, kind: str, rate: float) -> None:
    """Raise ValueError if a router activates another share of the tokens, whatever it learns."""
    fixed = None
    if isinstance(router, RandomRouter):
        fixed = router.rate
    elif isinstance(router, AlwaysActive | NeverActive | TopKRouter | ExpertChoiceRouter):
        fixed = router.max_rate
    if fixed is not None and fixed != rate:
        remedy = f"set rate={fixed:g}, or use" if fixed else "use"
        raise ValueError(
            f"rate={rate}, but router {kind!r} activates {fixed:g} of the tokens, whatever it learns; "
            f"{remedy} a router that learns how many, such as sigmoid"
        )
    if router.max_rate < rate:
        raise ValueError(
            f"rate={rate}, but router {kind!r} activates at most {router.max_rate:g} of the tokens; lower "
            "the rate, or raise what the router takes"
        )


@torch.no_grad()
def _open(router: nn.Module, logit: float) -> None:
    """Make pointwise routers activate everything, whatever the token."""
    for part in router.modules():
        if isinstance(part, SigmoidRouter | GumbelRouter | LatentConfigurator):
            part.projection.weight.zero_()
            part.projection.bias.zero_()
            part.projection.bias[-part.n_modules :] = logit + _at_threshold(part)


def _at_threshold(router: nn.Module) -> float:
    """The logit at which a router is undecided."""
    threshold = max(getattr(router, "threshold", 0.5), 1e-6)
    return math.log(threshold / (1 - threshold))


def _certain(routing: Routing) -> Routing:
    active = replayed(routing.active)
    soft = routing.confidence
    return replace(routing, active=active, confidence=active + (soft - soft.detach()))
