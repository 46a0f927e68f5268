"""Runs that were killed, or whose disk was full: they go on to the same weights, and leave nothing behind."""

import errno
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Any

import pytest
import torch

from sma.training import Run, RunError, TrainSpec, resume, train
from sma.training.run import checkpoints
from sma.training.run.checkpoints import load_checkpoint, read_position, save_best, save_checkpoint
from sma.training.trainer import Trainer
from tests.training.conftest import ONE_PIXEL

EXACT = ("step", "split", "loss", "bits", "gradient_norm", "learning_rate", "activation", "accuracy")
SECONDS = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]) -> None:
    """Leave out what makes testing slow and has nothing to do with files."""
    for name in ("draw_curves", "draw_activation", "draw_loss"):
        monkeypatch.setattr(f"sma.training.report.page.{name}", lambda *rows, **options: ONE_PIXEL)
    monkeypatch.setattr("sma.training.tasks.text.TextTask.baselines", lambda task: {"none": 8.0})
    monkeypatch.setattr("sma.training.tasks.text.TextTask.sections", lambda task, model, test: [])
    values |= {"steps": 4, "validation_interval": 2, "model": {**values["model"], "n_layers": 1}}


@pytest.fixture
def spec(values: dict[str, Any]) -> TrainSpec:
    return TrainSpec.model_validate(values)


def in_a_child(action: Callable[[], object]) -> int:
    """The signal that ended a process which does something; 0 if it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    deadline = time.monotonic() + SECONDS
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("the child hangs")
        time.sleep(0.005)
    return ended[1] & 0x7F


def killed_at_sync(number: int, action: Callable[[], object]) -> bool:
    """Whether a process that does something was killed when it synced a file for the n-th time."""
    sync, count = os.fsync, iter(range(1, 10**6))

    def kill(handle: int) -> None:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    def killed() -> None:
        os.fsync = kill  # only in the child
        action()

    return in_a_child(killed) == signal.SIGKILL


def state(run: Run, spec: TrainSpec) -> dict[str, Any]:
    """All of a run that must not depend on where it was killed."""
    trainer = Trainer(spec, spec.task.build())
    position = load_checkpoint(run, spec, trainer.model, trainer.optimizer)
    results = run.results()
    assert results is not None
    return {
        "weights": {name: tensor.tolist() for name, tensor in trainer.model.state_dict().items()},
        "position": (position.step, position.best_step, position.best_loss, position.n_rows),
        "rows": [{key: row[key] for key in EXACT if key in row} for row in run.metrics()],  # type: ignore[literal-required]
        "test": (results.ending, results.test.loss),
    }


def test_a_killed_run_goes_on_to_the_same_weights(spec: TrainSpec, tmp_path: Path) -> None:
    whole, _ = train(spec, root=tmp_path, name="whole")
    expected = state(whole, spec)
    n_killed = 0
    for number in (1, 4, 7, 11, 15, 20, 25):
        name = f"killed-{number}"
        if not killed_at_sync(number, lambda name=name: train(spec, root=tmp_path, name=name)):  # type: ignore[misc]
            break
        n_killed += 1
        if (tmp_path / name).exists():
            run = Run.open(tmp_path / name)
            resume(run, run.spec())
        else:  # no run was made yet, so its name is free
            run, _ = train(spec, root=tmp_path, name=name)
        assert state(run, spec) == expected, number
        assert not list(run.path.rglob(".*")), number
    assert n_killed >= 5
    assert not list(tmp_path.glob(".*"))


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(spec: TrainSpec, tmp_path: Path) -> None:
    """Training goes on while the checkpoint of step 2 is written, of which half is there."""
    whole, _ = train(spec, root=tmp_path, name="whole")

    def killed() -> None:
        sync, step, gone_on = os.fsync, Trainer._step, Event()
        steps: list[int] = []

        def kill(handle: int) -> None:
            if current_thread() is not main_thread() and len(steps) > 1:
                assert gone_on.wait(SECONDS)
                os.kill(os.getpid(), signal.SIGKILL)
            sync(handle)

        def counted(trainer: Trainer, run: Run) -> None:
            step(trainer, run)
            steps.append(trainer.position.step)
            if trainer.position.step == 3:
                gone_on.set()

        os.fsync, Trainer._step = kill, counted  # type: ignore[method-assign]
        train(spec, root=tmp_path, name="mine")

    assert in_a_child(killed) == signal.SIGKILL
    run = Run.open(tmp_path / "mine")
    assert read_position(run).step == 0
    assert [row["step"] for row in run.metrics()][-1] == 3
    resume(run, spec)
    assert state(run, spec) == state(whole, spec)
    assert not list(run.path.rglob(".*"))


def test_an_error_of_a_checkpoint_in_the_background_ends_the_run(
    spec: TrainSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, count = checkpoints.save_tensors, iter(range(99))

    def full(*arguments: Any) -> None:
        if next(count) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(checkpoints, "save_tensors", full)
    message = r"^cannot write .*last.safetensors \(No space left on device\); free some space .* --resume"
    with pytest.raises(RunError, match=message):
        train(spec, root=tmp_path, name="mine")
    run = Run.open(tmp_path / "mine")
    assert read_position(run).step == 0
    assert resume(run, spec) == "finished"


def test_a_run_without_a_checkpoint_starts_at_step_0(spec: TrainSpec, tmp_path: Path) -> None:
    run = Run.create(spec, tmp_path, "mine")  # and then its process was killed
    with pytest.raises(ValueError, match=r"never overwritten; .* go on with it: sma train --resume"):
        train(spec, root=tmp_path, name="mine")
    other = TrainSpec.model_validate({**spec.model_dump(), "seed": 7})
    with pytest.raises(ValueError, match=r"is a run of another spec: seed \(0 there, 7 here\)"):
        resume(run, other)
    assert resume(run, spec) == "finished"
    assert len(run.metrics()) == 6


def test_a_checkpoint_that_was_lost_later_is_missed(spec: TrainSpec, tmp_path: Path) -> None:
    run, _ = train(spec, root=tmp_path)
    run.last.unlink()
    with pytest.raises(
        RunError, match=r"last.safetensors is missing, .* restore it from a copy, or start a new"
    ):
        resume(run, spec)


def test_best_is_written_anew_where_it_is_missing(
    spec: TrainSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = train(spec, root=tmp_path)
    for path in run.best.iterdir():
        path.unlink()
    run.best.rmdir()
    assert resume(run, spec) == "finished"
    assert "best is missing (the best weights were those of step" in caplog.text
    assert run.has_best


def test_lost_lines_of_metrics_are_told(
    spec: TrainSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = train(spec, root=tmp_path)
    path = run.path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:1], *lines[3:], lines[-1]]))
    resume(run, spec)
    assert "metrics.jsonl lacks 2 of 6 lines up to step 4" in caplog.text
    assert path.read_text() == "".join([*lines[:1], *lines[3:]])
    caplog.clear()
    resume(run, spec)  # told once
    assert "metrics.jsonl" not in caplog.text


def test_a_run_that_is_being_trained_cannot_be_resumed(spec: TrainSpec, tmp_path: Path) -> None:
    run, _ = train(spec, root=tmp_path)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with run.lock():
        before[run.path / "lock"] = (run.path / "lock").read_bytes()
        with pytest.raises(RunError, match=rf"is being trained by process {os.getpid()} on"):
            resume(run, spec)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond some bytes inside the `with` block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_nothing(spec: TrainSpec, tmp_path: Path) -> None:
    run, _ = train(spec, root=tmp_path)
    trainer = Trainer(spec, spec.task.build())
    trainer.resume(run)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(1.0)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    for write in (
        lambda: save_checkpoint(run, spec, trainer.position, trainer.model, trainer.optimizer),
        lambda: save_best(run, trainer.model),
        lambda: run.write("report.html", "x" * 5000),
        lambda: run.log({"text": "x" * 5000}),
    ):
        with full_disk(3000), pytest.raises(RunError, match=r"^cannot write .*; free some space .*") as error:
            write()
        assert "\n" not in str(error.value)
        assert f"sma train --resume {run.path}" in str(error.value)
    after = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    metrics = run.path / "metrics.jsonl"
    assert after.pop(metrics).startswith(before.pop(metrics))
    assert after == before


@pytest.mark.parametrize("n_bytes", [500, 3000, 20_000])
def test_a_run_on_a_full_disk_goes_on_when_there_is_space(
    spec: TrainSpec, tmp_path: Path, n_bytes: int
) -> None:
    with full_disk(n_bytes), pytest.raises(RunError, match=r"^cannot write "):
        train(spec, root=tmp_path, name="full")
    if (tmp_path / "full").exists():
        run = Run.open(tmp_path / "full")
        assert resume(run, spec) == "finished"
    else:
        run, _ = train(spec, root=tmp_path, name="full")
    whole, _ = train(spec, root=tmp_path, name="whole")
    assert state(run, spec) == state(whole, spec)
