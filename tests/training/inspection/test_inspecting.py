"""Whole inspections of runs."""

import json
from pathlib import Path
from typing import Any

import pytest

import sma.training
from sma.training import Run
from sma.training.inspection.inspecting import inspect
from sma.training.results import best_model

from .conftest import LENGTH, N_ROWS, make_run


def test_two_runs(runs: dict[str, Run]) -> None:
    paths = [runs["recall"].path, runs["other seed"].path]
    found = sma.training.inspect(paths, n_rows=6, examples=[10, 2], n_flips=6)
    assert (found.n_rows, found.n_elements) == (6, 6 * LENGTH)
    assert [example.number for example in found.examples] == [2, 10]
    assert [each.name for each in found.needs] == ["layer 1, GAU", "layer 2, GAU", "any"]
    assert [group.name for group in found.roles] == ["filler", "key", "value", "query"]
    assert len(found.stability) == 2
    assert [rates.rates[0] for rates in found.stability] == found.rates
    assert found.worth[-1].n_active + found.worth[-1].n_inactive == 2 * 2 * 6
    again = inspect(paths, n_rows=6, examples=[2, 10], n_flips=6)
    assert again.json() == found.json()
    assert inspect(paths[0], n_rows=6, examples=[2], n_flips=6, seed=1).stability == []


def test_examples_show_the_row(runs: dict[str, Run]) -> None:
    found = inspect(runs["recall"].path, n_rows=1, examples=[4], n_flips=2)
    (example,) = found.examples
    batch = next(runs["recall"].spec().task.build().evaluation_batches("test", N_ROWS))
    tokens = batch.inputs[4].tolist()  # type: ignore[index]
    assert example.texts == [f"{token} " for token in tokens]
    assert batch.needs is not None
    assert example.needed == batch.needs[4].tolist()
    assert all(len(each) == example.length == LENGTH for each in (*example.active, *example.confidence))
    assert example.loss is not None
    assert sum(bits or 0 for bits in example.loss) == pytest.approx(example.row_loss, abs=0.01)
    assert example.shades is None
    values = json.loads(found.json())
    assert values["examples"][0]["loss"][0] is None


def test_pictures(runs: dict[str, Run]) -> None:
    found = inspect(runs["digits"].path, split="validation", n_rows=2, examples=[0], n_flips=2)
    (example,) = found.examples
    assert found.line == 8
    assert example.shades is not None
    assert len(example.shades) == 64
    assert 0 < max(example.shades) <= 1
    model = best_model(runs["digits"])
    batch = next(runs["digits"].spec().task.build().evaluation_batches("validation", 5))
    assert example.label == int(batch.targets[0])
    assert example.answer == int(batch.to(next(model.parameters())).scores(model)[0].argmax())
    assert found.losses == []


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["recall", "other model"], {}, "differ in their model"),
        (
            ["recall"],
            {"examples": [0, 12]},
            "example 12, but the test split .* has 12 rows; choose from 0 to 11",
        ),
        (["recall"], {"examples": [-1]}, "example -1"),
        (["recall"], {"n_rows": 0}, "n_rows"),
        ([], {}, "nothing to inspect"),
    ],
)
def test_bad_input(runs: dict[str, Run], names: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect([runs[name].path for name in names], **options)


def test_a_folder_that_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the folder of a run"):
        inspect(tmp_path)


def test_a_run_without_routers(tmp_path: Path) -> None:
    run = make_run(tmp_path, "always", "recall", preset="transformer", d_model=8, n_layers=1, n_heads=2)
    with pytest.raises(ValueError, match="no routers"):
        inspect(run.path)
