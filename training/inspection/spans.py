"""Attention spans in original positions: how far back a window of activated elements reaches in the row."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sma.training.inspection.decisions import Decisions
from sma.training.inspection.reader import Column


@dataclass(frozen=True)
class Span:
    """Distances from an activated element to the farthest one that it may attend to, in positions of the row.

    Attributes:
        name: of the routed module.
        window: activated neighbours on one side that an element sees; None: all.
        n: activated elements.
        median: of the distances.
        high: nine in ten are at most so far.
        longest: the largest.
    """

    name: str
    window: int | None
    n: int
    median: float
    high: float
    longest: int


def spans(decisions: Decisions) -> list[Span]:
    """The spans of every routed module that has attention and was activated."""
    found = []
    for column, active in zip(decisions.columns, decisions.active.unbind(1), strict=True):
        if column.attends and active.any():
            reach = distances(column, decisions.row[active], decisions.position[active])
            median, high = torch.quantile(reach.double(), reach.new_tensor([0.5, 0.9], dtype=torch.float64))
            found.append(
                Span(column.name, column.window, len(reach), float(median), float(high), int(reach.max()))
            )
    return found


def distances(column: Column, row: Tensor, position: Tensor) -> Tensor:
    """Of n activated elements, sorted by row and position, how far each reaches, `(n,)` long."""
    place = torch.arange(len(row))
    window = len(row) if column.window is None else column.window
    first = torch.searchsorted(row, row)
    reach = position - position[torch.maximum(place - window, first)]
    if not column.bidirectional:
        return reach
    last = torch.searchsorted(row, row, right=True) - 1
    return torch.maximum(reach, position[torch.minimum(place + window, last)] - position)
