"""Runs that end at a budget, with a schedule over the share of it that is spent."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from sma.training import Run, TrainSpec
from sma.training.comparison.budget import (
    FirstStep,
    check_budgets,
    check_step,
    first_step,
    limited,
    sampled_lengths,
)
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]


@pytest.mark.parametrize("match", ["operations", "seconds", "steps"])
def test_a_budget_takes_the_place_of_other_limits(values: dict[str, Any], match: Any) -> None:
    spec = TrainSpec.model_validate({**values, "steps": 40, "time_limit": 9, "patience": 3})
    found = limited(spec, match, 200, validations=4, step=FirstStep(2))
    limits = {"operations": found.operations, "seconds": found.time_limit, "steps": found.steps}
    assert limits == {"operations": None, "seconds": None, "steps": None} | {match: 200}
    assert (found.patience, found.schedule.warmup) == (None, 2 / 40)
    interval = {"operations": 25, "steps": 50, "seconds": 2**53}[match]
    assert (found.validation_interval, found.checkpoint_interval) == (interval, 50)


def test_the_schedule_follows_the_operations_that_are_spent(make: Make) -> None:
    trainer, run = make(steps=None, operations=2_000_000, schedule={"kind": "linear", "warmup": 0.2})
    assert trainer.fit(run) == "finished"
    rows = [row for row in run.metrics() if row["split"] == "training"]
    assert len(rows) > 5
    spent = [0, *(row["operations"] for row in rows)]
    assert spent[-2] < 2_000_000 <= spent[-1]
    steps = {after - before for before, after in itertools.pairwise(spent)}
    assert len(steps) > 1  # rates move, so that steps are not the same
    for row, before in zip(rows, spent, strict=False):
        share = before / 2_000_000
        assert row["learning_rate"] == pytest.approx(1e-2 * min(share / 0.2, 1) * (1 - share))
    assert trainer.position.validated == trainer.position.step == rows[-1]["step"]


def test_a_run_by_operations_is_resumed_bit_for_bit(make: Make) -> None:
    whole, whole_run = make(steps=None, operations=2_000_000, checkpoint_interval=3, validation_interval=100)
    whole.fit(whole_run)
    first, run = make(steps=None, operations=2_000_000, checkpoint_interval=3, validation_interval=100)

    class Killed(Exception):
        pass

    def killed(*told: Any) -> None:
        if first.position.step == 5:
            raise Killed

    first.observer.on_step = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.fit(run)
    again = Trainer(first.spec, first.task, from_weights=False)
    again.resume(run)
    assert again.position.step == 3
    assert again.fit(run) == "finished"
    assert again.position.operations == whole.position.operations
    kept = ("step", "loss", "learning_rate", "operations", "activation")
    assert [[row.get(key) for key in kept] for row in run.metrics()] == [
        [row.get(key) for key in kept] for row in whole_run.metrics()
    ]


def test_the_first_step_is_counted_as_it_is_trained(make: Make) -> None:
    trainer, run = make(steps=1, accumulation=2, model={**trainer_model(), "dropout": 0.0})
    step = first_step("mine", trainer.spec, trainer.task)
    trainer.fit(run)
    assert step.operations == trainer.position.operations
    assert sampled_lengths(trainer.spec, trainer.task) == [16] * 8


def trainer_model() -> dict[str, Any]:
    return {"preset": "seqboat", "vocab_size": 256, "d_model": 8, "n_layers": 1, "d_qk": 4, "d_hidden": 8,
            "window": 4, "d_state": 2}  # fmt: skip


@pytest.mark.parametrize(
    ("match", "budgets", "told"),
    [
        ("time", [1], "match='time' is not what budgets can be of"),
        ("steps", [], "budgets: none is given"),
        ("steps", [1.5], "budget=1.5 must be a whole number of steps"),
        ("seconds", [-1], "budget=-1 must be a positive number of seconds"),
        ("operations", [float("inf")], "budget=inf must be"),
        ("operations", [1e9, 1e9], "hold one twice"),
    ],
)
def test_wrong_budgets(match: str, budgets: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_budgets(match, budgets)


def test_budgets_below_one_step() -> None:
    check_step("mine", "steps", [1], FirstStep(None))
    check_step("mine", "operations", [100, 1000], FirstStep(100))
    with pytest.raises(
        ValueError, match=r"budget=99 operations is less than one step of mine \(100\); give a higher"
    ):
        check_step("mine", "operations", [1000, 99], FirstStep(100))
    with pytest.raises(ValueError, match="a part of mine does not count its operations"):
        check_step("mine", "operations", [1000], FirstStep(None))
