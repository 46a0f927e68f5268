"""The budget that all parts of a sparsified model share."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from typing_extensions import override

from sma.modules.routers.budget import ActivationBudget
from sma.modules.routers.ramp import Ramp
from sma.recomputation import recomputing
from sma.routing import Router


@dataclass
class PartRates:
    """The latest activation rates of the parts of a model, and what they cost.

    Attributes:
        costs: of each part, the operations per token.
        latest: of each part, its rate in the last training step that called it.
        means: of each part, the share that it was told last.
    """

    costs: list[int]
    latest: dict[int, Tensor] = field(default_factory=dict)
    means: dict[int, Tensor] = field(default_factory=dict)

    def mean(self, part: int, rate: Tensor, *, keep: bool) -> Tensor:
        """The share of the operations that is computed, by what is known, when a part has this rate."""
        if recomputing():  # other parts have been called since
            return self.means[part].to(rate.device)
        latest = {**self.latest, part: rate}
        costs = {each: self.costs[each] for each in latest}
        mean = torch.stack([latest[each].to(rate.device) * costs[each] for each in costs]).sum() / sum(
            costs.values()
        )
        if keep:
            self.latest, self.means[part] = latest, mean
        return mean


class SharedBudget(ActivationBudget):
    r"""The budget of one part of a model, whose target all parts meet together.

    $$ \text{activation\_budget} = \text{coefficient} \cdot \frac{w_i}{\bar w}
       \Big(\frac{\sum_j w_j r_j}{\sum_j w_j} - \text{rate}\Big)^2 $$

    with the realised rates r and the operations per token w of the parts. So skipping goes to where it costs
    least, which a rate for every part would forbid. Each part's loss is differentiated by its own rate alone,
    and all of them together as one squared excess. Rates of parts that a step has not reached are those of
    the step before.

    Args:
        router: of this part, of one module.
        rate: the target.
        coefficient: of the loss.
        rates: those of all parts.
        part: which of these this is.
    """

    def __init__(
        self, router: Router, *, rate: float | Ramp, coefficient: float, rates: PartRates, part: int
    ) -> None:
        super().__init__(router, rate=rate, coefficient=coefficient)
        self.parts, self.part = rates, part

    @override
    def penalty(self, rates: Tensor) -> Tensor:
        (rate,) = rates
        (target,) = self.rates
        mean = self.parts.mean(self.part, rate.detach(), keep=self.training)
        excess = mean - target()
        share = self.parts.costs[self.part] * len(self.parts.costs) / sum(self.parts.costs)
        return share * (excess.square() + 2 * excess * (rate - rate.detach()))
