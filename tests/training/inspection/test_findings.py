"""Activations against the known need, beside a random router."""

import pytest
import torch

from sma.training.inspection.decisions import Decisions
from sma.training.inspection.findings import agreements
from sma.training.inspection.reader import Column


def decided(active: torch.Tensor, needs: torch.Tensor | None) -> Decisions:
    n = torch.arange(len(active))
    columns = tuple(Column("", 0, f"layer {i}") for i in range(active.shape[1]))
    return Decisions(columns, active, active.float(), n * 0, n, None, None, needs)


def test_precision_and_recall() -> None:
    needs = torch.tensor([True, True, False, False, False])
    active = torch.tensor([[1, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]).bool().T
    first, second, never, any_of_them = agreements(decided(active, needs))
    assert (first.rate, first.precision, first.recall) == (0.4, 0.5, 0.5)
    assert (first.random_precision, first.random_recall) == (0.4, 0.4)
    assert (second.precision, second.recall, second.random_recall) == (1.0, 0.5, 0.2)
    assert (never.precision, never.recall, never.random_recall) == (None, 0.0, 0.0)
    assert (any_of_them.name, any_of_them.rate, any_of_them.precision) == ("any", 0.4, 0.5)
    assert any_of_them.random_recall == pytest.approx(1 - 0.6 * 0.8)


def test_a_random_router_gets_what_is_said_of_one() -> None:
    generator = torch.Generator().manual_seed(0)
    needs = torch.rand(100_000, generator=generator) < 0.1
    active = torch.rand(100_000, 3, generator=generator) < torch.tensor([0.2, 0.5, 0.1])
    for found in agreements(decided(active, needs)):
        assert found.precision == pytest.approx(found.random_precision, abs=0.01)
        assert found.recall == pytest.approx(found.random_recall, abs=0.02)


def test_one_module_is_not_told_twice_and_unknown_needs_not_at_all() -> None:
    active = torch.ones(4, 1, dtype=torch.bool)
    assert [found.name for found in agreements(decided(active, active[:, 0]))] == ["layer 0"]
    assert agreements(decided(active, None)) == []
