"""A run's folder: created once, never overwritten, every file written whole or not at all."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sma.architectures.files.atomic import write_whole
from sma.architectures.files.yaml import read_yaml
from sma.training.config import TrainSpec
from sma.training.run.errors import RunError


@dataclass(frozen=True)
class Run:
    """The folder of one run.

    | file | what |
    | --- | --- |
    | spec.yaml | the `TrainSpec`, every field written out |
    | facts.json | data, versions, command |
    | metrics.jsonl | one line per logged step and validation |
    | best/ | spec.json and model.safetensors of the best validation, for `sma.architectures.load_model` |
    | last.safetensors | all that resuming needs |
    | results.json, report.html, *.png | written at the end |
    """

    path: Path

    @classmethod
    def create(cls, spec: TrainSpec, root: str | Path, name: str | None = None) -> "Run":
        """A new folder below `root`: `name`, or else the task's kind and the first free number.

        Raises:
            ValueError: if `name` is taken, or is no name of a folder.
            RunError: if the folder cannot be made.
        """
        root = Path(root)
        if name is not None and (not name or Path(name).name != name):
            raise ValueError(f"name={name!r} is not the name of a folder; give one without slashes")
        with guard(root, "give another folder by --out"):
            root.mkdir(parents=True, exist_ok=True)
            run = cls(_make(root, name if name is not None else spec.task.kind, numbered=name is None))
            run.write("spec.yaml", yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The folder of a run that exists.

        Raises:
            ValueError: if there is none at `path`.
        """
        run = cls(Path(path))
        if not (run.path / "spec.yaml").is_file():
            raise ValueError(f"{path} is not the folder of a run (it has no spec.yaml){_runs_near(run.path)}")
        return run

    @property
    def best(self) -> Path:
        """Folder of the best model."""
        return self.path / "best"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.path / "last.safetensors"

    @property
    def advice(self) -> str:
        """How to go on after an error that has nothing to do with this run's fields."""
        return f"free some space or mend the folder, then go on with: sma train --resume {self.path}"

    def values(self) -> dict[str, Any]:
        """The fields in spec.yaml."""
        return read_yaml(self.path / "spec.yaml")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file whole: a temporary file, synced to disk, takes the place of an older one.

        Raises:
            RunError: if that fails; an older file is untouched then.
        """
        path = self.path / name
        with guard(path, self.advice):
            write_whole(path, content)
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Write JSON, see `write`."""
        return self.write(name, json.dumps(value, indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """Read JSON; None if there is no such file."""
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def log(self, row: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl.

        Raises:
            RunError: if the disk is full.
        """
        path = self.path / "metrics.jsonl"
        with guard(path, self.advice), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self, until: int | None = None) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, in order; those after step `until` and a half-written one left out."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = (row for row in map(_parse, lines) if row is not None)
        return [row for row in rows if until is None or row["step"] <= until]

    def rewind_metrics(self, step: int) -> None:
        """Drop the lines after `step`, which a resumed run writes again."""
        self.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.metrics(until=step)))


def _parse(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None for one that a full disk or a power cut left half-written."""
    try:
        row: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row


@contextmanager
def guard(path: Path, advice: str) -> Iterator[None]:
    """Turn an `OSError` while writing into a `RunError` of one line."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path} ({error.strerror or error}); {advice}") from error


def _make(root: Path, name: str, *, numbered: bool) -> Path:
    if not numbered:
        path = root / name
        try:
            path.mkdir()
        except FileExistsError as error:
            raise ValueError(
                f"{path} exists and is never overwritten; choose another --name, or go on with it: "
                f"sma train --resume {path}"
            ) from error
        return path
    taken = [re.fullmatch(rf"{re.escape(name)}-(\d+)", path.name) for path in root.iterdir()]
    number = max((int(match[1]) for match in taken if match), default=0) + 1
    while True:
        path = root / f"{name}-{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:  # another run was quicker
            number += 1
        else:
            return path


def _runs_near(path: Path) -> str:
    folders = (path, path.parent, Path("runs"))
    found = sorted({str(spec.parent) for f in folders if f.is_dir() for spec in f.glob("*/spec.yaml")})
    return f"; there are: {', '.join(found[-5:])}" if found else "; start one with: sma train"
