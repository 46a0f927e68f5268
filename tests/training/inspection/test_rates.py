"""Rates of groups of elements, against loops over elements."""

from typing import Any

import pytest
import torch

from sma.training import Run
from sma.training.inspection.decisions import Decisions
from sma.training.inspection.rates import by_loss, by_position, by_role, over_training
from sma.training.inspection.reader import Column

LENGTHS = [40, 25, 1]


@pytest.fixture
def decisions() -> Decisions:
    generator = torch.Generator().manual_seed(0)
    n = sum(LENGTHS)
    active = torch.rand(n, 2, generator=generator) > 0.6
    loss = torch.rand(n, generator=generator).masked_fill(torch.arange(n) % 7 == 0, torch.nan)
    return Decisions(
        (Column("a", 0, "layer 1, A"), Column("b", 0, "layer 2, B")),
        active,
        torch.rand(n, 2, generator=generator),
        torch.repeat_interleave(torch.arange(3), torch.tensor(LENGTHS)),
        torch.cat([torch.arange(length) for length in LENGTHS]),
        loss,
        torch.randint(0, 2, (n,), generator=generator) * 2,
        None,
    )


def mean(decisions: Decisions, chosen: list[int]) -> list[float]:
    return [sum(bool(decisions.active[i, c]) for i in chosen) / len(chosen) for c in range(2)]


def test_by_position(decisions: Decisions) -> None:
    groups = by_position(decisions)
    assert [group.name for group in groups] == [f"{i} to {min(i + 2, 39)}" for i in range(0, 39, 3)] + [
        "39 to 39"
    ]
    for first, group in zip(range(0, 40, 3), groups, strict=True):
        chosen = [i for i, t in enumerate(decisions.position.tolist()) if first <= t < first + 3]
        assert group.n == len(chosen)
        assert group.rates == pytest.approx(mean(decisions, chosen))


def test_by_role(decisions: Decisions) -> None:
    groups = by_role(decisions, ["even", "never there", "two"])
    assert decisions.roles is not None
    assert [group.name for group in groups] == ["even", "two"]
    for role, group in zip((0, 2), groups, strict=True):
        chosen = [i for i, each in enumerate(decisions.roles.tolist()) if each == role]
        assert (group.n, group.rates) == (len(chosen), pytest.approx(mean(decisions, chosen)))


def test_by_loss(decisions: Decisions) -> None:
    assert decisions.loss is not None
    groups = by_loss(decisions)
    losses = decisions.loss.tolist()
    order = sorted((i for i, loss in enumerate(losses) if loss == loss), key=lambda i: losses[i])
    assert sum(group.n for group in groups) == len(order)
    assert len(groups) == 10
    for group in groups:
        chosen, order = order[: group.n], order[group.n :]
        assert group.name == f"{losses[chosen[0]]:.2f} to {losses[chosen[-1]]:.2f} bits"
        assert group.rates == pytest.approx(mean(decisions, chosen))
    assert by_loss(decisions, "hundredths")[0].name == groups[0].name.replace("bits", "hundredths")


def test_what_is_unknown_has_no_groups(decisions: Decisions) -> None:
    bare = Decisions(
        *[getattr(decisions, n) for n in ("columns", "active", "confidence", "row", "position")],
        None,
        None,
        None,
    )
    assert by_role(bare, ["a"]) == []
    assert by_loss(bare) == []


def test_over_training(runs: dict[str, Run]) -> None:
    columns = [Column(f"blocks.{i}.branches.1", 0, "") for i in range(2)]
    curve = over_training(runs["recall"], columns)
    assert curve.steps == [1, 2]
    assert curve.rates == [pytest.approx([0.2, 0.4]), pytest.approx([0.3, 0.5])]


def test_long_training_is_thinned() -> None:
    class Logged:
        def metrics(self) -> list[Any]:
            return [{"step": i, "split": "training", "activation": {"a": [i / 1000]}} for i in range(1000)]

    logged: Any = Logged()
    curve = over_training(logged, [Column("a", 0, "")])
    assert len(curve.steps) == len(curve.rates[0]) == 112
    assert (curve.steps[0], curve.rates[0][0]) == (8, pytest.approx(0.004))
    assert over_training(logged, [Column("another model's", 0, "")]).rates == []
