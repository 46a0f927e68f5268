"""Loggers while a run continues, and those of other packages."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

import sma
from sma.training import Run, RunError, TrainSpec
from sma.training.loggers import Logger, LoggerSpec
from sma.training.loggers.logger import scalars
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]
HEARD: list[Any] = []


class Listening(Logger):
    """Keeps what it hears."""

    def start(self, folder: Path, values: dict[str, Any], step: int) -> None:
        HEARD.append(("start", folder, values["seed"], step))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        HEARD.append((step, dict(values)))

    def close(self) -> None:
        HEARD.append("close")


@sma.register
class ListeningSpec(LoggerSpec):
    """Builds `Listening`."""

    kind: Literal["listening_in_tests"] = "listening_in_tests"

    def build(self) -> Listening:
        return Listening()


@pytest.fixture(autouse=True)
def forget() -> None:
    HEARD.clear()


def test_every_line_of_metrics_is_heard(make: Make) -> None:
    trainer, run = make(loggers=["listening_in_tests"], steps=4)
    trainer.fit(run)
    assert HEARD[0] == ("start", run.path, 0, 0)
    assert HEARD[-1] == "close"
    assert HEARD[1:-1] == [(row["step"], scalars(row)) for row in run.metrics()]
    layer = "blocks.0.branches.1"
    assert HEARD[1][1][f"training/activation/{layer}"] == run.metrics()[0]["activation"][layer][0]
    assert "validation/activation/blocks.1.branches.1" in HEARD[-2][1]


def test_a_run_that_goes_on_starts_after_its_steps(make: Make) -> None:
    trainer, run = make(loggers=["listening_in_tests"], steps=4)
    trainer.fit(run)
    longer = TrainSpec.model_validate({**trainer.spec.model_dump(), "steps": 5})
    again = Trainer(longer, trainer.task)
    again.resume(run)
    HEARD.clear()
    again.fit(run)
    assert HEARD[0][3] == 4
    assert [entry[0] for entry in HEARD[1:-1]] == [5, 5]


def test_loggers_are_closed_when_a_run_fails(make: Make) -> None:
    trainer, run = make(loggers=["listening_in_tests"])
    next(trainer.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(RunError):
        trainer.fit(run)
    assert HEARD[-1] == "close"
