"""Agreement between runs, against scikit-learn's kappa."""

import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from sma.training.inspection.decisions import Decisions
from sma.training.inspection.reader import Column
from sma.training.inspection.stability import stability


def decided(*columns: torch.Tensor) -> Decisions:
    active = torch.stack(columns, 1)
    n = torch.arange(len(active))
    named = tuple(Column("", 0, f"layer {i}") for i in range(1, len(columns) + 1))
    return Decisions(named, active, active.float(), n * 0, n, None, None, None)


def test_kappa() -> None:
    a, b, c = (torch.rand(200, generator=torch.Generator().manual_seed(i)) > 0.1 + 0.3 * i for i in range(3))
    c = torch.where(torch.arange(200) < 100, a, c)  # half of it is no coincidence
    (found,) = stability([decided(a), decided(c)])
    assert found.rates == pytest.approx([float(a.float().mean()), float(c.float().mean())])
    assert found.agreement == pytest.approx(float((a == c).float().mean()))
    assert found.kappa == pytest.approx(cohen_kappa_score(a, c))
    (three,) = stability([decided(a), decided(b), decided(c)])
    assert three.agreement == pytest.approx(
        sum(float((x == y).float().mean()) for x, y in ((a, b), (a, c), (b, c))) / 3
    )


def test_extremes() -> None:
    a = torch.tensor([True, False, True, False])
    same, opposite, always = stability([decided(a, a, a | True), decided(a, ~a, a | True)])
    assert (same.agreement, same.kappa) == (1.0, 1.0)
    assert (opposite.agreement, opposite.kappa) == (0.0, -1.0)
    assert (always.agreement, always.kappa) == (1.0, None)
    assert stability([decided(a)]) == []
