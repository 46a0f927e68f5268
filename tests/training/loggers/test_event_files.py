"""TensorBoard's event files: read back where the package is installed, else by a stub."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from sma.training import Run, TrainSpec
from sma.training.loggers.logger import scalars
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]


def test_a_missing_package_is_named_before_a_folder_is_made(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    spec = TrainSpec.model_validate({**values, "loggers": ["tensorboard"]})
    with pytest.raises(
        ValueError,
        match=r"the logger tensorboard needs the package tensorboard .*activation\[tensorboard\]'$",
    ):
        Trainer(spec, spec.task.build())


class Writer:
    """Keeps what a SummaryWriter would write."""

    made: list["Writer"] = []  # noqa: RUF012

    def __init__(self, folder: str, purge_step: int | None) -> None:
        self.folder, self.purge_step = folder, purge_step
        self.scalars: list[Any] = []
        self.texts: list[str] = []
        self.closed = False
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((step, name, value))

    def add_text(self, name: str, text: str, step: int) -> None:
        self.texts.append(text)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_what_is_written(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = ModuleType("tensorboard_stub")
    stub.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stub)
    Writer.made.clear()
    trainer, run = make(loggers=["tensorboard"], steps=2)
    trainer.fit(run)
    longer = TrainSpec.model_validate({**trainer.spec.model_dump(), "steps": 3})
    again = Trainer(longer, trainer.task)
    again.resume(run)
    again.fit(run)
    first, second = Writer.made
    assert first.folder == second.folder == str(run.path / "tensorboard")
    assert (first.purge_step, second.purge_step) == (None, 3)
    assert first.closed
    assert "seed: 0" in first.texts[0]
    assert not second.texts
    expected = [(row["step"], name, value) for row in run.metrics() for name, value in scalars(row).items()]
    assert sorted(first.scalars + second.scalars) == sorted(expected)


def test_event_files_are_read_back(make: Make) -> None:
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer, run = make(loggers=["tensorboard"], steps=2)
    trainer.fit(run)
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("training/loss")]
    rows = [row for row in run.metrics() if row["split"] == "training"]
    assert found == [(row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in rows]
    assert "training/activation/blocks.0.branches.1" in events.Tags()["scalars"]
