"""A run's folder: created once, never overwritten, every file written whole or not at all."""

import errno
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import ValidationError

from sma.architectures.files.atomic import remove_leftovers, sync_folder, temporary_beside, write_whole
from sma.architectures.files.reading import check_regular
from sma.architectures.files.yaml import read_yaml
from sma.spec.errors import one_line
from sma.training.config import TrainSpec
from sma.training.imported import import_options
from sma.training.run.errors import RunError, cause
from sma.training.run.lock import locked
from sma.training.run.records import MAX_LINE, Facts, Results, Row, parse_row, read_record

METRICS = "metrics.jsonl"
TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
"""The system's error numbers when a folder is moved to a name that is in use."""


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
    | shards/ | the same of a model that several processes share |
    | lock | held by the process that trains the run |
    """

    path: Path
    writes: ClassVar[bool] = True
    """Whether this process writes the folder: of several that train one run, the first does."""

    @classmethod
    def create(cls, spec: TrainSpec, root: str | Path, name: str | None = None) -> "Run":
        """A new folder below `root`: `name`, or else the task's kind and the first free number.

        The folder appears together with its spec.yaml, so that a killed process leaves no half of one.

        Raises:
            ValueError: if `name` is taken, or is not the name of a folder.
            RunError: if the folder cannot be made.
        """
        root = Path(root)
        if name is not None and (name in {"", ".", ".."} or Path(name).name != name):
            raise ValueError(f"name={name!r} is not the name of a folder; give one without slashes")
        content = _text(spec)
        with guard(root, "give another folder by --out"):
            root.mkdir(parents=True, exist_ok=True)
            remove_leftovers(root, "run")
            with temporary_beside(root / "run") as folder:
                folder.mkdir()
                write_whole(folder / "spec.yaml", content)
                path = _number(folder, root, spec.task.kind) if name is None else _name(folder, root / name)
                sync_folder(root)
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The folder of a run that exists.

        Raises:
            ValueError: if there is no run at `path`.
        """
        run = cls(Path(path))
        if not (run.path / "spec.yaml").exists():
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
    def shards(self) -> Path:
        """Folder of the checkpoints of a sharded model, which take the place of `last`."""
        return self.path / "shards"

    @property
    def newest(self) -> Path:
        """The newest checkpoint, of either kind."""
        numbered = [path for path in self.shards.glob("*") if path.name.isdecimal()]
        newest = max(numbered, default=self.last)
        if newest != self.last and self.last.exists():  # its writer was killed before it removed the other
            return max(self.last, newest, key=lambda path: path.stat().st_mtime)
        return newest

    @property
    def again(self) -> str:
        """The command that starts a new run of the same spec."""
        return f"sma train{import_options()} --spec {shlex.quote(str(self.path / 'spec.yaml'))}"

    @property
    def resume(self) -> str:
        """The command that continues this run."""
        return f"sma train{import_options()} --resume {shlex.quote(str(self.path))}"

    @property
    def advice(self) -> str:
        """How to go on after an error that has nothing to do with this run's fields."""
        return f"free some space or repair the folder, then go on with: {self.resume}"

    @property
    def has_started(self) -> bool:
        """Whether training has left anything; a run without it starts at step 0 when it is resumed."""
        return any(os.path.lexists(p) for p in (self.newest, self.best, self.path / METRICS))

    @property
    def has_best(self) -> bool:
        """Whether there is a best model."""
        return all((self.best / name).exists() for name in ("spec.json", "model.safetensors"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training this run inside the `with` block; clean up after killed ones.

        Raises:
            RunError: if another process trains it; the message says which.
        """
        with locked(self.path):
            with guard(self.path, self.advice):
                for folder in (self.path, self.best):
                    if folder.is_dir():
                        remove_leftovers(folder)
            yield

    def values(self) -> dict[str, Any]:
        """The fields in spec.yaml."""
        return read_yaml(self.path / "spec.yaml")

    def spec(self) -> TrainSpec:
        """The spec in spec.yaml.

        Raises:
            ValueError: if it is damaged, or names what is not installed.
        """
        try:
            return TrainSpec.model_validate(self.values())
        except ValidationError as error:
            raise ValueError(f"{self.path / 'spec.yaml'}: {one_line(error)}") from error

    def facts(self) -> Facts | None:
        """The content of facts.json; None if there is no such file.

        Raises:
            RunError: if it is damaged.
        """
        remedy = f"restore it from a copy, or start a new run with: {self.again}"
        return read_record(self.path / "facts.json", Facts, remedy=remedy)

    def results(self) -> Results | None:
        """The content of results.json; None if there is no such file.

        Raises:
            RunError: if it is damaged.
        """
        remedy = f"remove it, and write it anew with: sma report {shlex.quote(str(self.path))}"
        return read_record(self.path / "results.json", Results, remedy=remedy)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file whole: a temporary file, synced to disk, takes the place of an older one.

        Raises:
            RunError: if that fails; an older file is untouched then.
        """
        path = self.path / name
        with guard(path, self.advice):
            write_whole(path, content)
        return path

    def write_spec(self, spec: TrainSpec) -> Path:
        """Write spec.yaml anew, see `write`."""
        return self.write("spec.yaml", _text(spec))

    def write_record(self, name: str, record: Facts | Results) -> Path:
        """Write JSON, see `write`."""
        return self.write(name, record.model_dump_json(indent=2) + "\n")

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl.

        Raises:
            RunError: if the disk is full.
        """
        path = self.path / METRICS
        with guard(path, self.advice), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def sync_metrics(self) -> None:
        """Make the lines of metrics.jsonl survive a power cut, as a checkpoint does that counts them.

        Raises:
            RunError: if the disk is full.
        """
        path = self.path / METRICS
        if path.exists():
            with guard(path, self.advice), path.open("rb+") as file:
                os.fsync(file.fileno())

    def metrics(self, until: int | None = None) -> list[Row]:
        """The lines of metrics.jsonl, in order, without damaged ones, and those after step `until` left out.

        Of several lines about the same step and split, the last one counts.

        Raises:
            RunError: if metrics.jsonl is not a regular file, or cannot be read.
        """
        rows: dict[tuple[int, str], Row] = {}
        for line in _lines(self.path / METRICS):
            row = parse_row(line)
            if row is not None and (until is None or row["step"] <= until):
                rows[row["step"], row["split"]] = row
        return list(rows.values())

    def rewind_metrics(self, step: int) -> int:
        """Drop the lines after `step`, which a resumed run writes again; the number of lines left."""
        rows = self.metrics(until=step)
        self.write(METRICS, "".join(json.dumps(row) + "\n" for row in rows))
        return len(rows)


def _text(spec: TrainSpec) -> str:
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)


@contextmanager
def guard(path: Path, advice: str) -> Iterator[None]:
    """Turn an `OSError` while writing into a `RunError` of one line."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path} ({error.strerror or error}); {advice}") from error


def check_writable(path: Path, advice: str) -> None:
    """See, before something long begins, that a file or folder can be made at `path`; nothing is left there.

    Raises:
        RunError: if it cannot.
    """
    folder = next(each for each in path.absolute().parents if each.exists())
    with guard(path, advice), temporary_beside(folder / path.name):
        pass


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, if it exists, up to one that is too long to be a row."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE):
                if len(line) == MAX_LINE:
                    return
                yield line
    except FileNotFoundError:
        return
    except (ValueError, OSError) as error:
        raise RunError(f"{cause(error)}; remove it: only curves are drawn from it") from error


def _name(folder: Path, path: Path) -> Path:
    """Move a new run's folder to `path`."""
    try:
        os.rename(folder, path)
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        run = Run(path)
        remedy = (
            f"or go on with it: {run.resume}"
            if (path / "spec.yaml").exists()
            else "or remove it: it does not hold a run"
        )
        raise ValueError(
            f"{path} exists and is never overwritten; choose another --name, {remedy}"
        ) from error
    return path


def _number(folder: Path, root: Path, name: str) -> Path:
    """Move a new run's folder below `root`, to a name with the first number above all that are taken."""
    taken = [re.fullmatch(rf"{re.escape(name)}-(\d+)", path.name) for path in root.iterdir()]
    number = max((int(match[1]) for match in taken if match), default=0) + 1
    while True:
        path = root / f"{name}-{number:03d}"
        try:
            os.rename(folder, path)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            number += 1  # another run was quicker
        else:
            return path


def _runs_near(path: Path) -> str:
    folders = (path, path.parent, Path("runs"))
    found = sorted({str(spec.parent) for f in folders if f.is_dir() for spec in f.glob("*/spec.yaml")})
    return f"; there are: {', '.join(found[-5:])}" if found else "; start one with: sma train"
