"""Weights & Biases and trackio: by stubs, and trackio itself where it is installed."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sma.training import Run, TrainSpec
from sma.training.loggers.logger import scalars
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]


class Stub(ModuleType):
    """Keeps the calls of `init`, `log` and `finish`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []

    def init(self, **arguments: Any) -> None:
        self.calls.append(("init", arguments))

    def log(self, values: dict[str, float], step: int) -> None:
        self.calls.append(("log", (step, values)))

    def finish(self) -> None:
        self.calls.append(("finish", None))


@pytest.mark.parametrize(
    ("logger", "expected"),
    [
        ({"kind": "wandb", "mode": "offline"}, {"project": "sma", "entity": None, "mode": "offline"}),
        ({"kind": "trackio", "project": "mine"}, {"project": "mine", "space_id": None}),
    ],
)
def test_what_a_tracker_gets(
    make: Make, monkeypatch: pytest.MonkeyPatch, logger: dict[str, Any], expected: dict[str, Any]
) -> None:
    stub = Stub(logger["kind"])
    monkeypatch.setitem(sys.modules, logger["kind"], stub)
    trainer, run = make(loggers=[logger], steps=2)
    trainer.fit(run)
    again = Trainer(TrainSpec.model_validate({**trainer.spec.model_dump(), "steps": 3}), trainer.task)
    again.resume(run)
    again.fit(run)
    first, second = (call[1] for call in stub.calls if call[0] == "init")
    assert first.items() >= {**expected, "name": run.path.name}.items()
    assert first["config"]["steps"] == 2
    assert second["resume"] == "allow"
    assert {key: second[key] for key in second if key not in {"config", "resume"}} == {
        key: first[key] for key in first if key not in {"config", "resume"}
    }
    assert ("id" in first) == (logger["kind"] == "wandb")
    logged = [call[1] for call in stub.calls if call[0] == "log"]
    assert logged == [(row["step"], scalars(row)) for row in run.metrics()]
    assert [call[0] for call in stub.calls].count("finish") == 2


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_a_missing_package_is_named(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    spec = TrainSpec.model_validate({**values, "loggers": [kind]})
    with pytest.raises(
        ValueError, match=rf"the logger {kind} needs the package {kind} .*activation\[{kind}\]'$"
    ):
        Trainer(spec, spec.task.build())


def test_trackio_has_every_line(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back from its database; a run that continues is the same one there."""
    pytest.importorskip("trackio", reason="the package trackio is not installed")
    from trackio.sqlite_storage import SQLiteStorage

    for name, module in list(sys.modules.items()):
        if name.startswith("trackio") and hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    trainer, run = make(loggers=["trackio"], steps=2)
    trainer.fit(run)
    again = Trainer(TrainSpec.model_validate({**trainer.spec.model_dump(), "steps": 3}), trainer.task)
    again.resume(run)
    again.fit(run)
    assert SQLiteStorage.get_runs("sma") == [run.path.name]
    logged = [
        (row["step"], {name: value for name, value in row.items() if name not in {"step", "timestamp"}})
        for row in SQLiteStorage.get_logs("sma", run.path.name)
    ]
    assert logged == [(row["step"], pytest.approx(scalars(row))) for row in run.metrics()]
