"""Processes of runs: what they say, why they failed, and that none is left behind."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sma.training.comparison import jobs
from sma.training.comparison.jobs import Jobs, environment

PROGRAM = """
import json, os, signal, sys
print("not JSON")
print(json.dumps({"progress": 0.5, "step": 3}), flush=True)
how = os.path.basename(sys.argv[1])
if how == "fails":
    print(json.dumps({"error": "the loss is nan"}), flush=True)
    sys.exit(1)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "waits":
    os.read(0, 1)  # until its parent closes the pipe
    open(os.path.join(sys.argv[1], "saved"), "w").close()
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small program in the place of the one that trains."""

    class Popen(jobs.subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, arguments: list[str], **options: Any) -> None:
            super().__init__([sys.executable, "-c", PROGRAM, arguments[3]], **options)

    monkeypatch.setattr(jobs.subprocess, "Popen", Popen)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("fails", "the loss is nan"), ("killed", "killed by signal 9"), ("ends", "ended with code 0, see ")],
)
def test_a_process_says_why_it_failed(quick: None, tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / name).mkdir()
    with Jobs(1) as found:
        found.start(name, tmp_path / name)
        assert not found.has_room
        over = []
        while not over:
            over = found.ended()
            time.sleep(0.01)
    (job,) = over
    assert job.reason.startswith(reason)
    assert (job.progress, job.step, found.running) == (0.5, 3, {})


def test_processes_that_are_at_work_are_told_to_stop(quick: None, tmp_path: Path) -> None:
    (tmp_path / "waits").mkdir()
    with Jobs(1) as found:
        found.start("waits", tmp_path / "waits")
        process = found.running["waits"].process
    assert process.returncode == 0
    assert (tmp_path / "waits" / "saved").exists()


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert environment(3)["OMP_NUM_THREADS"] == "2"
    assert environment(20)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment(3)["OMP_NUM_THREADS"] == "5"
