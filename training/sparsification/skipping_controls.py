"""Controls of a sparsified model: random skipping at the same rates, and parts dropped for good."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.modules.routers.fixed import AlwaysActive, NeverActive
from sma.recording import record
from sma.routing import Router, Routing, mask_padding
from sma.training.sparsification.token_operations import saved_operations
from sma.transformers.sparsification.routed_layer import routed_parts


class DrawnRouter(Router):
    """Activates each element at random, drawn anew in each call, with confidence 1.

    So the positions differ between rows and between steps, where those of `RandomRouter` are always the same
    and a model can adapt to them.

    Attributes:
        rate: the expected share of active elements, in [0, 1].
        generator: of the draws.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.rate = 1.0
        self.generator = torch.Generator()

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        drawn = torch.rand(*x.shape[:2], 1, generator=self.generator).to(x.device)
        return Routing(mask_padding(drawn < self.rate, mask), torch.ones_like(drawn, dtype=x.dtype))


def skip_at_random(
    model: nn.Module, rates: Mapping[str, float], *, ramp: float = 0.5, seed: int = 0
) -> Callable[[float], None]:
    """Put routers that draw anew in the place of a sparsified model's own.

    Args:
        model: sparsified.
        rates: of the parts, by their names.
        ramp: the share of a training over which the rates move from 1 to these, as a budget's does.
        seed: each part has its own, made of this.

    Returns:
        A function that sets the share of a training that lies behind, by which the rates move. It also seeds
        the draws, so that those of a step do not depend on the steps before it.

    Raises:
        ValueError: if a part has no rate, or the ramp is not in (0, 1].
    """
    if not 0 < ramp <= 1:
        raise ValueError(f"ramp is a share of the training and must be in (0, 1], got {ramp}")
    parts = routed_parts(model)
    _check_names(parts, rates)
    routers = {name: DrawnRouter() for name in parts}
    for name, part in parts.items():
        part.router = routers[name]

    def set_rates(progress: float) -> None:
        share = min(progress / ramp, 1.0)
        for name, router in routers.items():
            router.rate = 1 - share + share * rates[name]
            router.generator.manual_seed(random.Random(f"{seed} {name} {progress}").getrandbits(32))

    return set_rates


def drop_parts(model: nn.Module, dropped: list[str]) -> None:
    """Let no token compute some parts of a sparsified model, and every token all others.

    Raises:
        ValueError: if there is no part of such a name.
    """
    parts = routed_parts(model)
    for name in dropped:
        if name not in parts:
            raise ValueError(f"there is no routed part {name!r}; there are: {', '.join(parts)}")
    for name, part in parts.items():
        part.router = NeverActive(1) if name in dropped else AlwaysActive(1)


def choose_dropped(
    model: Any, inputs: Mapping[str, Tensor], saved: int, damage: Callable[[], float]
) -> list[str]:
    """The parts to drop that together save about as many operations.

    In its turn, each is the one that does the least damage for the operations that it saves.

    Args:
        model: sparsified; its routers are replaced.
        inputs: a batch that operations are counted on.
        saved: operations on it that should be saved.
        damage: a measure of the model as it is, which is to be small.

    Returns:
        The names of the parts. Dropping any other one as well would take the saving further from `saved`.
    """
    dropped: list[str] = []
    costs = {name: saved_by_dropping(model, [name], inputs) for name in routed_parts(model)}
    drop_parts(model, dropped)
    before, left = damage(), saved
    while closer := [n for n in sorted(costs) if n not in dropped and abs(left - costs[n]) < abs(left)]:
        found = {}
        for name in closer:
            drop_parts(model, [*dropped, name])
            found[name] = damage()
        best = min(closer, key=lambda name: (found[name] - before) / costs[name])
        dropped.append(best)
        before, left = found[best], left - costs[best]
    drop_parts(model, dropped)
    return dropped


@torch.no_grad()
def saved_by_dropping(model: Any, dropped: list[str], inputs: Mapping[str, Tensor]) -> int:
    """Operations on a batch that a sparsified model saves without some of its parts, which it then lacks."""
    drop_parts(model, dropped)
    with record(model) as recording:
        model(**inputs)
    return saved_operations(recording.layers, model)


def _check_names(parts: Mapping[str, nn.Module], rates: Mapping[str, float]) -> None:
    missing = parts.keys() - rates.keys()
    if missing:
        raise ValueError(f"parts without a rate: {', '.join(sorted(missing))}; give one for each")
