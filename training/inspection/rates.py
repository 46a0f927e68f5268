"""Activation rates of groups of elements: over training, by position, by role, by loss."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sma.training.inspection.decisions import Decisions
from sma.training.inspection.reader import Column
from sma.training.run.folder import Run

N_POSITIONS, N_LOSSES, N_STEPS = 16, 10, 120


@dataclass(frozen=True)
class Group:
    """Some elements.

    Attributes:
        name: which.
        n: how many.
        rates: of each routed module, the share of them that activated it.
    """

    name: str
    n: int
    rates: list[float]


@dataclass(frozen=True)
class Curve:
    """Activation rates during training.

    Attributes:
        steps: S of them.
        rates: of each routed module, S rates on training batches.
    """

    steps: list[int]
    rates: list[list[float]]


def over_training(run: Run, columns: Sequence[Column]) -> Curve:
    """The rates that a run wrote to metrics.jsonl; the mean of neighbours where there are many."""
    steps, rates = [], []
    layers = list(dict.fromkeys(column.layer for column in columns))
    for row in run.metrics():
        if row["split"] == "training" and list(row["activation"]) == layers:
            steps.append(row["step"])
            rates.append([rate for layer in layers for rate in row["activation"][layer]])
    size = max(-(-len(steps) // N_STEPS), 1)
    parts = [slice(start, start + size) for start in range(0, len(steps), size)]
    means = [torch.tensor(rates[part]).mean(0).tolist() for part in parts]
    return Curve([steps[part][-1] for part in parts], [list(each) for each in zip(*means, strict=True)])


def by_position(decisions: Decisions) -> list[Group]:
    """Rates of elements of like position, in up to `N_POSITIONS` parts of equal width."""
    longest = int(decisions.position.max()) + 1
    width = -(-longest // N_POSITIONS)
    starts = range(0, longest, width)
    return _groups(
        decisions,
        [f"{start}" if width == 1 else f"{start} to {min(start + width, longest) - 1}" for start in starts],
        decisions.position // width,
    )


def by_role(decisions: Decisions, names: Sequence[str]) -> list[Group]:
    """Rates of elements of each role; none where roles are unknown."""
    return [] if decisions.roles is None else _groups(decisions, names, decisions.roles)


def by_loss(decisions: Decisions, unit: str = "bits") -> list[Group]:
    """Rates of elements by the loss of their own target, in tenths; none where rows have one target.

    Args:
        decisions: with losses.
        unit: of these.
    """
    if decisions.loss is None:
        return []
    scored = (~decisions.loss.isnan()).nonzero().squeeze(1)
    order = scored[decisions.loss[scored].argsort(stable=True)]
    parts = [part for part in torch.tensor_split(order, N_LOSSES) if len(part)]
    number = torch.full((len(decisions),), -1)
    for i, part in enumerate(parts):
        number[part] = i
    ends = [(float(decisions.loss[part[0]]), float(decisions.loss[part[-1]])) for part in parts]
    return _groups(decisions, [f"{low:.2f} to {high:.2f} {unit}" for low, high in ends], number)


def _groups(decisions: Decisions, names: Iterable[str], number: Tensor) -> list[Group]:
    """A group for each name whose number some elements have."""
    found = []
    for i, name in enumerate(names):
        active = decisions.active[number == i]
        if len(active):
            found.append(Group(name, len(active), active.float().mean(0).tolist()))
    return found
