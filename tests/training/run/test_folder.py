"""Folders of runs: new ones only, and files that are whole or not there."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from sma.training import Run, RunError, TrainSpec


@pytest.fixture
def spec(values: dict[str, Any]) -> TrainSpec:
    return TrainSpec.model_validate(values)


@pytest.fixture
def run(spec: TrainSpec, tmp_path: Path) -> Run:
    return Run.create(spec, tmp_path / "runs")


def test_every_run_gets_a_new_folder(spec: TrainSpec, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    names = [Run.create(spec, root).path.name for _ in range(3)]
    assert names == ["text_files-001", "text_files-002", "text_files-003"]
    (root / "text_files-001" / "spec.yaml").unlink()
    (root / "text_files-001").rmdir()
    assert Run.create(spec, root).path.name == "text_files-004"  # a number is not used twice


def test_a_named_folder_is_never_overwritten(spec: TrainSpec, tmp_path: Path) -> None:
    run = Run.create(spec, tmp_path, "mine")
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(ValueError, match="exists and is never overwritten; choose another --name"):
        Run.create(spec, tmp_path, "mine")
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


@pytest.mark.parametrize("name", ["", "a/b", "..", "."])
def test_a_name_is_one_folder(spec: TrainSpec, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"not the name of a folder|exists and is never"):
        Run.create(spec, tmp_path, name)


def test_the_spec_is_kept(run: Run, spec: TrainSpec) -> None:
    assert TrainSpec.model_validate(Run.open(run.path).values()) == spec


def test_opening_something_else(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not the folder of a run .* there are: .*text_files-001"):
        Run.open(tmp_path / "runs" / "text_files-999")


def test_an_unwritable_root(spec: TrainSpec, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write .*; give another folder by --out"):
        Run.create(spec, tmp_path / "file" / "runs")


def test_a_full_disk_leaves_the_older_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write("a.txt", "older")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"No space left on device.*sma train --resume") as error:
        run.write("a.txt", "newer")
    assert "\n" not in str(error.value)
    assert (run.path / "a.txt").read_text() == "older"
    assert {path.name for path in run.path.iterdir()} == {"spec.yaml", "a.txt"}


def test_metrics_skip_a_half_written_line(run: Run) -> None:
    for step in range(4):
        run.log({"step": step})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "activation": {}')
    assert [row["step"] for row in run.metrics()] == [0, 1, 2, 3]
    run.rewind_metrics(2)
    run.log({"step": 3})
    assert [row["step"] for row in run.metrics()] == [0, 1, 2, 3]
