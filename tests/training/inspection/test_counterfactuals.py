"""Flips of single decisions, against the same model with one router that decides so."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from sma.training import Run
from sma.training.inspection import counterfactuals
from sma.training.inspection.correlation import Correlation
from sma.training.inspection.counterfactuals import Flip, choose, flip, worth
from sma.training.inspection.decisions import Decisions, pick_rows, read_decisions
from sma.training.inspection.reader import Column, Reader, target_bits
from sma.training.tasks.task import Batch, Task

from .conftest import LENGTH, N_TOKENS, Stubborn


def read(task: Task, model: nn.Module) -> tuple[Batch, Decisions]:
    (row,) = pick_rows(task, "test", 5, [3])
    return row, read_decisions(Reader(model), [row])


def flips(row: Batch, read: Decisions, model: nn.Module, chosen: list[tuple[int, int]]) -> list[Flip]:
    return flip(Reader(model), row, read.columns, read.active, read.confidence, chosen)


@pytest.mark.parametrize("together", [2**14, 3 * LENGTH])
def test_flips_one_by_one(
    recall: tuple[Task, nn.Module], monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Many in one forward pass or few: each as if it had been alone."""
    monkeypatch.setattr(counterfactuals, "ELEMENTS", together)
    task, model = recall
    row, decisions = read(task, model)
    chosen = [(column, position) for column in (0, 1) for position in range(0, LENGTH, 4)]
    found = flips(row, decisions, model, chosen)
    assert {each.was_active for each in found} == {True, False}
    with torch.no_grad():
        before = target_bits(model(row.inputs), row.targets)[0]
    for (column, position), each in zip(chosen, found, strict=True):
        other = copy.deepcopy(model)
        layer = other.get_submodule(decisions.columns[column].layer)
        layer.router = Stubborn(layer.router, position)  # type: ignore[arg-type]
        with torch.no_grad():
            change = (target_bits(other(row.inputs), row.targets)[0] - before).nan_to_num()
        assert (each.column, each.position) == (column, position)
        assert each.was_active == bool(decisions.active[position, column])
        assert each.gain == pytest.approx(float(change.sum()) * (1 if each.was_active else -1), abs=1e-5)
        kept = {i: bits for i, bits in enumerate(change.tolist()) if abs(bits) >= 5e-4}
        assert dict(each.changes) == pytest.approx(kept, abs=1e-5)
        assert all(i >= position for i, _ in each.changes)  # the model is causal
        assert each.answer is None
    assert any(each.changes for each in found)


@pytest.mark.parametrize(("limit", "most"), [("ELEMENTS", 3 * LENGTH), ("SCORES", 3 * LENGTH * N_TOKENS)])
def test_passes_are_no_larger_than_they_may_be(
    recall: tuple[Task, nn.Module], monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    """Three flips at once, and the row as it is."""
    monkeypatch.setattr(counterfactuals, limit, most)
    row, decisions = read(*recall)
    sizes: list[int] = []
    hook = recall[1].register_forward_hook(lambda model, args, scores: sizes.append(len(scores)))
    flips(row, decisions, recall[1], [(0, position) for position in range(8)])
    hook.remove()
    assert sizes[1:] == [4, 4, 3]


def test_rows_with_one_target_have_an_answer(runs: dict[str, Run]) -> None:
    spec = runs["digits"].spec()
    model = spec.model.build().double()
    row, decisions = read(spec.task.build(), model)
    (found,) = flips(row, decisions, model, [(0, 5)])
    other = copy.deepcopy(model).eval()
    layer = other.get_submodule(decisions.columns[0].layer)
    layer.router = Stubborn(layer.router, 5)  # type: ignore[arg-type]
    with torch.no_grad():
        scores = other(row.to(torch.zeros(0, dtype=torch.float64)).inputs)
    assert found.answer == int(scores[0].argmax())
    assert found.changes == []


def test_only_the_largest_changes_are_kept(
    recall: tuple[Task, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    row, decisions = read(*recall)
    every = flips(row, decisions, recall[1], [(0, position) for position in range(12)])
    whole = max(every, key=lambda each: len(each.changes))
    monkeypatch.setattr(counterfactuals, "N_CHANGES", 2)
    (cut,) = flips(row, decisions, recall[1], [(0, whole.position)])
    assert len(whole.changes) > 2
    largest = sorted(whole.changes, key=lambda change: -abs(change[1]))[:2]
    assert cut.changes == [pytest.approx(change) for change in sorted(largest)]


@pytest.mark.parametrize(
    ("n_on", "n_off", "taken_on"), [(50, 50, 4), (2, 50, 2), (50, 1, 7), (0, 50, 0), (2, 3, 2)]
)
def test_half_of_the_chosen_decisions_are_active(n_on: int, n_off: int, taken_on: int) -> None:
    active = torch.zeros(n_on + n_off, 2, dtype=torch.bool)
    active[torch.randperm(len(active), generator=torch.Generator().manual_seed(0))[:n_on], 1] = True
    chosen = [
        position for column, position in choose(active, 8, torch.Generator().manual_seed(1)) if column == 1
    ]
    assert len(set(chosen)) == len(chosen) == min(8, n_on + n_off)
    assert chosen == sorted(chosen)
    assert int(active[chosen, 1].sum()) == taken_on


def test_worth() -> None:
    generator = np.random.default_rng(0)

    def row() -> list[Flip]:
        return [
            Flip(c, i, bool(i % 2), float(generator.random()), float(generator.normal()), [], None)
            for c in (0, 1)
            for i in range(4)
        ]

    rows = [row() for _ in range(6)]
    found = worth([Column("a", 0, "first"), Column("b", 0, "second")], rows)
    assert [each.name for each in found] == ["first", "second", "all"]
    for each, columns in zip(found, ({0}, {1}, {0, 1}), strict=True):
        chosen = [flip for flips in rows for flip in flips if flip.column in columns]
        on, off = ([flip.gain for flip in chosen if flip.was_active == active] for active in (True, False))
        assert (each.n_active, each.n_inactive) == (len(on), len(off))
        assert (each.gain_active, each.gain_inactive) == (
            pytest.approx(np.mean(on)), pytest.approx(np.mean(off))
        )  # fmt: skip
        assert each.helped == pytest.approx(np.mean(np.array(on) > 0))
        assert each.missed == pytest.approx(np.mean(np.array(off) > 0))
        expected = spearmanr([flip.confidence for flip in chosen], [flip.gain for flip in chosen]).statistic
        assert each.confidence.value == pytest.approx(expected)
        assert each.confidence.n_rows == 6


def test_worth_of_nothing() -> None:
    (found,) = worth([Column("a", 0, "only")], [[]])
    assert (found.gain_active, found.gain_inactive, found.helped, found.missed) == (None,) * 4
    assert found.confidence == Correlation(None, None, None, 0, 0)
