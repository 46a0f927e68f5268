"""The activation budget that any router can be given, and means over the real elements of a batch."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.modules.functional import at_least_float32, sum_over_ranks
from sma.modules.routers.ramp import Ramp, Scheduled
from sma.recomputation import replayed
from sma.routing import Router, Routing
from sma.sequence import zero_padding
from sma.state import State


class ActivationBudget(Router):
    r"""Any router, with a loss that draws its activation rates to a target.

    $$ \text{activation\_budget} = \text{coefficient} \cdot \frac{1}{M} \sum_m (r_m - \text{rate}_m)^2 $$

    where r is the realised share of the batch's real elements that activate module m. r counts decisions, so
    it has no gradient of its own: the loss is evaluated on it, and differentiated as if it were the mean
    confidence of all real elements. These include the inactive ones, which get no gradient from the layer's
    output: without them a rate that is too low could never rise. (The mean confidence itself would be
    differentiable, but it is not the rate: a tempered softmax that activates nothing may well have a mean
    confidence of 0.49.)

    In training with several processes, the elements are those of all ranks: a budget is not linear in the
    rate, so that each rank's own would be another. Every rank must call the router equally often.

    Decisions and confidences are the wrapped router's.

    Args:
        router: the router.
        rate: the target, in [0, 1]; one for all modules, or one for each. A `Ramp` moves it.
        coefficient: of the loss.

    Raises:
        ValueError: if a rate is not in [0, 1], if there are several but not one per module, or if
            `coefficient` is negative.

    Example:
        >>> from sma.modules import LatentConfigurator
        >>> router = ActivationBudget(LatentConfigurator(16), rate=0.25, coefficient=1.0)
        >>> routing = router(torch.randn(2, 5, 16))
        >>> realised = routing.active.float().mean()
        >>> bool(torch.isclose(routing.losses["activation_budget"], (realised - 0.25) ** 2))
        True
    """

    def __init__(
        self, router: Router, *, rate: float | Ramp | Sequence[float | Ramp], coefficient: float
    ) -> None:
        super().__init__(router.n_modules)
        each = tuple(rate) if isinstance(rate, Sequence) else (rate,)
        if isinstance(rate, Sequence) and len(each) != self.n_modules:
            raise ValueError(
                f"rate has {len(each)} entries, but the router decides on {self.n_modules} modules; give one "
                "rate for all, or one for each"
            )
        if coefficient < 0:
            raise ValueError(f"coefficient must not be negative, got {coefficient}")
        self.router = router
        self.max_rate = router.max_rate
        self.element_wise = router.element_wise
        targets = [Scheduled(value) for value in each]
        if not all(0 <= value <= 1 for target in targets for value in target.extremes):
            raise ValueError(f"rate is a share of the elements and must be in [0, 1], got {rate}")
        self.rates = nn.ModuleList(targets)
        self.coefficient = coefficient

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        routing = self.router(x, mask)
        routing = replace(routing, active=replayed(routing.active))
        losses = {**routing.losses, "activation_budget": self._loss(routing, mask)}
        return Routing(routing.active, routing.confidence, losses)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.router.init_state(batch_size, device=device, dtype=dtype)

    @override
    def step(self, x: Tensor, state: State, mask: Tensor | None = None) -> Routing:
        """Without the loss."""
        return self.router.step(x, state, mask)

    def _loss(self, routing: Routing, mask: Tensor | None) -> Tensor:
        confidence = routing.confidence.to(at_least_float32(routing.confidence.dtype))
        straight_through = routing.active + (confidence - confidence.detach())
        rates, n_real = mean_over_real(straight_through, mask, over_ranks=self.training)
        return self.coefficient * self.penalty(rates) * (n_real > 0)

    def penalty(self, rates: Tensor) -> Tensor:
        """What the realised rates `(M,)` cost, a scalar."""
        each = torch.split(rates, 1) if len(self.rates) > 1 else (rates,)
        excess = torch.cat([rate - target() for rate, target in zip(each, self.rates, strict=True)])
        return excess.square().mean()


def mean_over_real(values: Tensor, mask: Tensor | None, *, over_ranks: bool) -> tuple[Tensor, Tensor]:
    """The mean over the real elements of a batch, in float32 at least.

    Args:
        values: `(B, L, K)`.
        mask: `(B, L)` bool, True = a real element. None: all are real.
        over_ranks: take the elements of all ranks of the default process group, where there is one. Every
            rank must then call this equally often, also one without elements.

    Returns:
        The mean `(K,)`, 0 if there are no real elements, and their number, a scalar.
    """
    values = zero_padding(values.to(at_least_float32(values.dtype)), mask)
    n_elements = values.shape[0] * values.shape[1]
    n_real = values.new_full((1,), n_elements) if mask is None else mask.sum().to(values).view(1)
    totals = torch.cat([values.sum((0, 1)), n_real])
    if over_ranks:
        totals = sum_over_ranks(totals)
    n_real = totals[-1].detach()
    return totals[:-1] / n_real.clamp(min=1), n_real
