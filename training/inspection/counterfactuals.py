"""Counterfactuals: single decisions of a trained model are flipped, and the loss is measured again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import sma
from sma.training.inspection.correlation import Correlation, correlate
from sma.training.inspection.reader import Column, Reader
from sma.training.tasks.running import evaluating
from sma.training.tasks.task import Batch

ELEMENTS = 2**14
"""Of all rows of one forward pass: so many flips are measured together as fit."""
SCORES = 2**26
"""The most numbers that a forward pass may give: those of a large vocabulary fill the memory."""
N_CHANGES = 40
SMALLEST = 5e-4
"""Of the changes of single targets, the largest `N_CHANGES` are kept, and none below this."""
ROUNDING = 1e-5
"""A gain below this may be nothing but rounding."""


@dataclass(frozen=True)
class Flip:
    """One decision that was turned round.

    Attributes:
        column: number of the routed module.
        position: of the element in its row.
        was_active: the decision of the router.
        confidence: of the router in activation.
        gain: that by which the loss of the row, all of its targets together, is lower with the activation
            than without it: above 0, activation helps.
        changes: positions of targets, and that by which the flip raises the loss of each; for a row with
            one target, none.
        answer: the class that gets the highest score after the flip, for a row with one target.
    """

    column: int
    position: int
    was_active: bool
    confidence: float
    gain: float
    changes: list[tuple[int, float]]
    answer: int | None


@dataclass(frozen=True)
class Worth:
    """What decisions about a routed module are worth, by the flips of some of them.

    Attributes:
        name: of the module, or of all.
        n_active: flips of active decisions.
        n_inactive: flips of inactive ones.
        gain_active: mean gain of activation where the router activates; None without flips.
        gain_inactive: the same where it does not.
        helped: the share of active decisions that lower the loss; None without any.
        missed: the share of inactive decisions whose activation would lower it; None without any.
        confidence: the correlation of the router's confidence with the gain.
    """

    name: str
    n_active: int
    n_inactive: int
    gain_active: float | None
    gain_inactive: float | None
    helped: float | None
    missed: float | None
    confidence: Correlation


def choose(active: Tensor, n: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Decisions to flip: n of each column of `active (L, C)`, half of them active where there are so many.

    Returns:
        Column and position of each, in this order.
    """
    chosen = []
    for column, each in enumerate(active.unbind(1)):
        on, off = (
            part[torch.randperm(len(part), generator=generator)]
            for part in (each.nonzero().squeeze(1), (~each).nonzero().squeeze(1))
        )
        n_on = max(min(len(on), n // 2), min(n - len(off), len(on)))
        taken = torch.cat((on[:n_on], off[: n - n_on]))
        chosen += [(column, position) for position in taken.sort().values.tolist()]
    return chosen


@torch.no_grad()
def flip(
    reader: Reader,
    row: Batch,
    columns: Sequence[Column],
    active: Tensor,
    confidence: Tensor,
    chosen: Sequence[tuple[int, int]],
) -> list[Flip]:
    """Flip decisions about one row, each by itself, many in one forward pass as rows of a batch.

    All that comes later sees the flip: later layers decide anew. The first row of every pass is flipped
    nowhere, and is what the others are compared with.

    Args:
        reader: of the model, which is in evaluation mode inside.
        row: a batch of one row without padding.
        columns: the C routed modules.
        active: `(L, C)` bool, the decisions.
        confidence: `(L, C)`.
        chosen: column and position of each flip.
    """
    row = row.to(next(reader.model.parameters()))
    found: list[Flip] = []
    with evaluating(reader.model):
        most = ELEMENTS // max(row.n_elements, 1), SCORES // max(reader.run(row).numel(), 1)
        together = max(min(most), 1)
        for start in range(0, len(chosen), together):
            part = chosen[start : start + together]
            scores = _forced_scores(reader, row, columns, active, part)
            targets = row.targets.expand(len(scores), *row.targets.shape[1:])
            losses = reader.loss.of(scores, targets).double().cpu()
            answers = scores.argmax(-1).tolist() if row.targets.dim() == 1 else [None] * len(scores)
            for (column, position), each, answer in zip(part, losses[1:], answers[1:], strict=True):
                was_active = bool(active[position, column])
                change = (each - losses[0]).nan_to_num()
                gain = float(change.sum()) * (1 if was_active else -1)
                changes = _largest(change) if row.targets.dim() > 1 else []
                sure = float(confidence[position, column])
                found.append(Flip(column, position, was_active, sure, gain, changes, answer))
    return found


def _forced_scores(
    reader: Reader, row: Batch, columns: Sequence[Column], active: Tensor, part: Sequence[tuple[int, int]]
) -> Tensor:
    """The scores of 1 + K times the row: the first as it is, each other one with one decision flipped."""
    assert isinstance(row.inputs, Tensor)
    n, length, device = 1 + len(part), len(active), row.inputs.device
    widths = {name: sum(column.layer == name for column in columns) for name in (c.layer for c in columns)}
    where = {name: torch.zeros(n, length, m, dtype=torch.bool) for name, m in widths.items()}
    values = {name: each.clone() for name, each in where.items()}
    for i, (column, position) in enumerate(part, 1):
        place = (i, position, columns[column].module)
        where[columns[column].layer][place] = True
        values[columns[column].layer][place] = not active[position, column]
    forced = {
        name: sma.Forced(each.to(device), values[name].to(device))
        for name, each in where.items()
        if each.any()
    }
    repeated = Batch(row.inputs.expand(n, *row.inputs.shape[1:]), row.targets)
    with sma.forcing(reader.model, forced):
        return reader.run(repeated)


def _largest(change: Tensor) -> list[tuple[int, float]]:
    """The largest changes, by position."""
    order = change.abs().argsort(descending=True, stable=True)[:N_CHANGES].sort().values
    return [(i, float(change[i])) for i in order.tolist() if abs(float(change[i])) >= SMALLEST]


def worth(columns: Sequence[Column], flips: Sequence[Sequence[Flip]], *, seed: int = 0) -> list[Worth]:
    """What the decisions about each routed module are worth, and about all of them where there are several.

    Args:
        columns: the routed modules.
        flips: those of each row.
        seed: of the intervals.
    """
    every = [(row, found) for row, of_row in enumerate(flips) for found in of_row]
    each = [
        _worth(c.name, [pair for pair in every if pair[1].column == i], seed) for i, c in enumerate(columns)
    ]
    return [*each, _worth("all", every, seed)] if len(columns) > 1 else each


def _worth(name: str, flips: Sequence[tuple[int, Flip]], seed: int) -> Worth:
    gains = {
        active: [flip.gain for _, flip in flips if flip.was_active == active] for active in (True, False)
    }
    helpful = {active: sum(gain > ROUNDING for gain in each) for active, each in gains.items()}
    confidence = correlate(
        np.array([flip.confidence for _, flip in flips], dtype=np.float64),
        np.array([flip.gain for _, flip in flips], dtype=np.float64),
        np.array([row for row, _ in flips], dtype=np.int64),
        seed=seed,
    )
    return Worth(
        name,
        len(gains[True]),
        len(gains[False]),
        _mean(gains[True]),
        _mean(gains[False]),
        helpful[True] / len(gains[True]) if gains[True] else None,
        helpful[False] / len(gains[False]) if gains[False] else None,
        confidence,
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
