"""Attention spans, against loops over elements."""

import pytest
import torch

from sma.training.inspection.decisions import Decisions
from sma.training.inspection.reader import Column
from sma.training.inspection.spans import Span, distances, spans

N = 60


@pytest.fixture
def activated() -> tuple[torch.Tensor, torch.Tensor]:
    """Row and position of the activated elements of three rows."""
    active = torch.rand(3, 20, generator=torch.Generator().manual_seed(0)) > 0.5
    row, position = active.nonzero().unbind(1)
    return row, position


@pytest.mark.parametrize("window", [1, 4, None])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_distances(
    activated: tuple[torch.Tensor, torch.Tensor], window: int | None, bidirectional: bool
) -> None:
    row, position = (each.tolist() for each in activated)
    found = distances(Column("", 0, "", window, True, bidirectional), *activated).tolist()
    for i, distance in enumerate(found):
        seen = [
            abs(position[i] - position[j])
            for j in range(len(row))
            if row[j] == row[i]
            and (window is None or abs(i - j) <= window)
            and (bidirectional or position[j] <= position[i])
        ]
        assert distance == max(seen)


def test_spans_of_what_attends_and_was_activated() -> None:
    columns = (
        Column("a", 0, "attends", 1, True),
        Column("b", 0, "does not"),
        Column("c", 0, "never", 1, True),
    )
    active = torch.zeros(10, 3, dtype=torch.bool)
    active[[0, 3, 9], 0] = True
    active[:, 1] = True
    zeros = torch.zeros(10, dtype=torch.long)
    decisions = Decisions(columns, active, active.float(), zeros, torch.arange(10), None, None, None)
    assert spans(decisions) == [Span("attends", 1, 3, 3.0, pytest.approx(5.4), 6)]
