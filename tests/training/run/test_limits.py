"""Limits of a run: how it ends, what share of it lies behind, and what is due."""

from typing import Any

import pytest

from sma.training import TrainSpec
from sma.training.run.limits import checkpoint_is_due, planned_progress, progress, reached, validation_is_due
from sma.training.run.position import Position


@pytest.mark.parametrize(
    ("limits", "position", "ending"),
    [
        ({"steps": 5}, {"step": 4}, None),
        ({"steps": 5}, {"step": 5}, "finished"),
        ({"steps": None, "operations": 1e9}, {"step": 9, "operations": 10**9 - 1}, None),
        ({"steps": None, "operations": 1e9}, {"operations": 10**9}, "finished"),
        ({"steps": 5, "time_limit": 3.0}, {"elapsed": 3.0}, "time limit"),
        ({"steps": 5, "patience": 2}, {"stale": 2}, "stopped early"),
    ],
)
def test_the_first_limit_ends_a_run(
    values: dict[str, Any], limits: dict[str, Any], position: dict[str, Any], ending: str | None
) -> None:
    assert reached(TrainSpec.model_validate({**values, **limits}), Position(**position)) == ending


def test_schedules_follow_what_is_repeatable(values: dict[str, Any]) -> None:
    position = Position(step=2, operations=300, elapsed=9.0)

    def shares(**limits: Any) -> tuple[float, float]:
        spec = TrainSpec.model_validate({**values, **limits})
        return planned_progress(spec, position), progress(spec, position)

    assert shares(steps=8, operations=400, time_limit=10) == (0.25, 0.9)
    assert shares(steps=None, operations=400, time_limit=10) == (0.75, 0.9)
    assert shares(steps=None, time_limit=10) == (0.9, 0.9)
    assert shares(steps=None, operations=100) == (1.0, 1.0)


def test_validations_are_due_once_each_and_in_the_last_step(values: dict[str, Any]) -> None:
    spec = TrainSpec.model_validate({**values, "steps": 10, "validation_interval": 4})
    assert [n for n in range(11) if validation_is_due(spec, Position(step=n))] == [4, 8, 10]
    assert not validation_is_due(spec, Position(step=4, validated=4))
    assert validation_is_due(spec, Position(step=8, validated=4))


@pytest.mark.parametrize(("interval", "due"), [(3, [3, 6, 9]), (None, [])])
def test_checkpoints_are_due_if_an_interval_says_so(
    values: dict[str, Any], interval: int | None, due: list[int]
) -> None:
    spec = TrainSpec.model_validate({**values, "steps": 10, "checkpoint_interval": interval})
    assert [n for n in range(11) if checkpoint_is_due(spec, Position(step=n))] == due
