"""Folders of runs: new ones only, and files that are whole or not there."""

import errno
import json
import os
import signal
import time
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


def row(step: int, split: str = "training", **fields: Any) -> dict[str, Any]:
    shared = {"step": step, "split": split, "loss": 1.0, "bits": 1.4, "activation": {}, "seconds": 0.1}
    rates = {"auxiliary": {}, "gradient_norm": 1, "learning_rate": 0.1, "elements_per_second": 9.0}
    return shared | (rates if split == "training" else {"accuracy": 0.5}) | fields


def test_metrics_skip_a_half_written_line(run: Run) -> None:
    for step in range(4):
        run.log(row(step))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "activation": {}')
    assert [row["step"] for row in run.metrics()] == [0, 1, 2, 3]
    assert run.rewind_metrics(2) == 3
    run.log(row(3))
    assert [row["step"] for row in run.metrics()] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"step": 1}',
        "null",
        "\0\0\0",
        json.dumps(row(1, loss=float("nan"))),
        json.dumps(row(1, loss="1.0")),
        json.dumps(row(10**30)),
        json.dumps(row(1, "test")),
        json.dumps(row(1, activation={"0": 1.0})),
        "x" * 2**21,
    ],
    ids=range(10),
)
def test_a_damaged_line_of_metrics_is_left_out(run: Run, line: str) -> None:
    (run.path / "metrics.jsonl").write_text(f"{json.dumps(row(0))}\n{line}\n")
    assert [row["step"] for row in run.metrics()] == [0]


def test_a_line_that_is_there_twice_counts_once(run: Run) -> None:
    for loss in (1.0, 2.0):
        run.log(row(1, loss=loss))
        run.log(row(1, "validation"))
    assert [(row["split"], row["loss"]) for row in run.metrics()] == [("training", 2.0), ("validation", 1.0)]


def test_only_one_holds_the_lock_of_a_run(run: Run) -> None:
    with run.lock():
        with (
            pytest.raises(RunError, match=rf"is being trained by process {os.getpid()} on .* since") as error,
            run.lock(),
        ):
            pass
        assert "\n" not in str(error.value)
    with run.lock():
        pass


def test_a_lock_ends_with_its_owner(run: Run) -> None:
    owner = os.fork()
    if owner == 0:
        with run.lock():
            (run.path / "held").touch()
            time.sleep(60)
        os._exit(0)
    deadline = time.monotonic() + 10
    while not (run.path / "held").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(RunError, match=f"is being trained by process {owner} on"), run.lock():
        pass
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    with run.lock():
        pass


def test_a_folder_that_does_not_hold_a_run_can_be_named(spec: TrainSpec, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()  # as a process that was killed long ago left it
    assert Run.create(spec, tmp_path, "mine").spec() == spec
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"choose another --name, or remove it: it does not hold a run"):
        Run.create(spec, tmp_path, "other")


def test_a_killed_creation_leaves_no_run(spec: TrainSpec, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        Run.create(spec, tmp_path, "mine")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not (tmp_path / "mine").exists()
    Run.create(spec, tmp_path, "mine")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
