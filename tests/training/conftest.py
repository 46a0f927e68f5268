"""The command as a function, and small runs for tests: a few steps of a tiny SeqBoat on made-up text."""

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sma.training import Run, TrainSpec
from sma.training.cli.app import app
from sma.training.trainer import Trainer

ONE_PIXEL = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
"""A PNG, in place of plots that a test does not look at."""
TINY_MODEL = {
    "preset": "seqboat",
    "vocab_size": 256,
    "d_model": 8,
    "n_layers": 2,
    "d_qk": 4,
    "d_hidden": 8,
    "window": 4,
    "d_state": 2,
    "dropout": 0.1,
}


@pytest.fixture(scope="session")
def sma() -> Callable[..., Any]:
    """Calls the command with arguments, in this process, into a pipe of no width."""
    return lambda *arguments: CliRunner(env={"COLUMNS": None}).invoke(
        app, [str(argument) for argument in arguments]
    )


@pytest.fixture
def text_folder(tmp_path: Path) -> Path:
    """Twelve little files of counted lines."""
    folder = tmp_path / "text"
    folder.mkdir()
    for i in range(12):
        lines = [f"line {j} of file {i}\n" for j in range(10)]
        (folder / f"file{i}.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def values(text_folder: Path) -> dict[str, Any]:
    """The fields of a tiny run."""
    return {
        "task": {
            "kind": "text_files",
            "folder": str(text_folder),
            "length": 16,
            "evaluation_length": 64,
            "validation_share": 0.2,
            "test_share": 0.2,
        },
        "model": dict(TINY_MODEL),
        "steps": 6,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "schedule": {"kind": "linear", "warmup": 2},
        "validation_interval": 4,
        "log_interval": 1,
    }


@pytest.fixture
def make(values: dict[str, Any], tmp_path: Path) -> Callable[..., tuple[Trainer, Run]]:
    """A trainer of the tiny run with some fields changed, and a new folder for it."""

    def build(**fields: Any) -> tuple[Trainer, Run]:
        spec = TrainSpec.model_validate({**values, **fields})
        return Trainer(spec, spec.task.build()), Run.create(spec, tmp_path / "runs")

    return build
