"""Routers that start open: every token active with confidence 1, so that a model starts as it was."""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.architectures.specs.families import RouterSpec
from sma.modules.routers.budget import ActivationBudget
from sma.modules.routers.fixed import AlwaysActive, NeverActive, RandomRouter
from sma.modules.routers.pointwise import GumbelRouter, LatentConfigurator, SigmoidRouter
from sma.modules.routers.ramp import Ramp
from sma.modules.routers.shared_budget import PartRates, SharedBudget
from sma.modules.routers.top_k import ExpertChoiceRouter, TopKRouter
from sma.recomputation import replayed
from sma.routing import Router, Routing
from sma.state import State


class Saturating(Router):
    r"""Any router, whose confidence grows from 0 at its threshold to exactly 1, and then stays.

    $$ c_t = a_t \min\Big(1, \frac{p_t - \theta}{p_1 - \theta}\Big) $$

    with decisions a, confidence p and threshold $\theta$ of the router. So a token begins to skip without a
    jump, and on the way there the gradient says what skipping it costs: where c is always 1, a model that is
    already trained has a gradient of 0. The gradient is that of p everywhere (the straight-through
    estimator, https://arxiv.org/abs/1308.3432).

    Args:
        router: the router, active where its confidence is above the threshold.
        threshold: this.
        full: p_1, from where on c is 1.

    Example:
        >>> router = Saturating(SigmoidRouter(16), threshold=0.5, full=0.7)
        >>> routing = router(torch.randn(2, 50, 16))
        >>> bool((routing.confidence[~routing.active] == 0).all()), routing.confidence.requires_grad
        (True, True)
    """

    def __init__(self, router: Router, *, threshold: float, full: float) -> None:
        super().__init__(router.n_modules)
        self.router = router
        self.max_rate = router.max_rate
        self.threshold = threshold
        self.full = full

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        return self._saturated(self.router(x, mask))

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.router.init_state(batch_size, device=device, dtype=dtype)

    @override
    def step(self, x: Tensor, state: State, mask: Tensor | None = None) -> Routing:
        return self._saturated(self.router.step(x, state, mask))

    def _saturated(self, routing: Routing) -> Routing:
        active, soft = replayed(routing.active), routing.confidence
        share = (soft.detach() - self.threshold) / (self.full - self.threshold)
        share = torch.where(
            share > 0, share.clamp(max=1), 1
        )  # what is active by `forcing` alone counts in full
        confidence = active * share + (soft - soft.detach())
        return replace(routing, active=active, confidence=confidence)


def open_router(
    spec: RouterSpec,
    d_model: int,
    *,
    rate: float,
    over: float,
    coefficient: float,
    logit: float,
    rates: PartRates,
    part: int,
) -> Router:
    """A router of one module that starts open, with its share in a budget that moves from 1 to a rate.

    Routers without parameters, such as `random`, are the spec's own: they have nothing to learn.

    Args:
        spec: of the router.
        d_model: D.
        rate: the share of the parts' operations that the budget ends at.
        over: the share of training that it takes to get there.
        coefficient: of the budget.
        logit: by which every token is active at first.
        rates: those of all parts.
        part: which of these it is for.

    Raises:
        ValueError: if the router cannot reach the rate, or has a budget already.

    Example:
        >>> from sma.architectures.specs.routers import SigmoidSpec
        >>> options = dict(over=0.5, coefficient=1.0, logit=2.0, rates=PartRates([1]), part=0)
        >>> router = open_router(SigmoidSpec(), 8, rate=0.5, **options)
        >>> routing = router(torch.randn(1, 3, 8))
        >>> routing.active.flatten().tolist(), routing.confidence.flatten().tolist()
        ([True, True, True], [1.0, 1.0, 1.0])
    """
    with torch.device("cpu"):  # also while a model is made without its weights
        router = spec.build(d_model, 1)
    if any(isinstance(part, ActivationBudget) for part in router.modules()):
        raise ValueError(
            f"router {spec.kind!r} has a budget, and every router of a sparsified model is given one; name "
            "the router inside it, and set rate and coefficient beside it"
        )
    _check_rate(router, spec.kind, rate)
    if not any(True for _ in router.parameters()):
        return router
    budget = partial(
        SharedBudget, rate=Ramp(1.0, rate, over), coefficient=coefficient, rates=rates, part=part
    )
    _open(router, logit)
    if isinstance(router, GumbelRouter):
        return budget(router)
    if not isinstance(router, SigmoidRouter | LatentConfigurator):
        return budget(Saturating(router, threshold=-1.0, full=0.0))  # its threshold is not known: 1 at once
    threshold = getattr(router, "threshold", 0.5)
    with torch.no_grad():
        first = router(torch.zeros(1, 1, d_model, device="cpu")).confidence.item()
    return budget(Saturating(router, threshold=threshold, full=(threshold + first) / 2))


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
