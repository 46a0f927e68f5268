"""Processes that train the runs of a comparison, so many at a time."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import sma
from sma.training.imported import imported_names

LOG = "log.txt"
"""What a run's process writes besides its progress."""
POLL = 0.1
STOP = 120.0
"""Seconds that a process gets to leave a checkpoint."""


@dataclass
class Job:
    """A process that trains one run.

    Attributes:
        name: of the run.
        folder: of the run.
        progress: the share that is done.
        step: steps done.
        error: what it said when it failed.
        process: the process.
        listener: the thread that follows what it says.
    """

    name: str
    folder: Path
    process: "subprocess.Popen[bytes]" = field(repr=False)
    progress: float = 0.0
    step: int = 0
    error: str | None = None
    listener: threading.Thread | None = field(default=None, repr=False)

    @property
    def reason(self) -> str:
        """Why it failed."""
        code = self.process.returncode
        if self.error is not None:
            return self.error
        return f"killed by signal {-code}" if code < 0 else f"ended with code {code}, see {self.folder / LOG}"


class Jobs:
    """Runs processes, at most `limit` at a time; a `with` block that leaves none behind.

    A process that is still at work when the block is left is told to stop: it leaves a checkpoint.

    Args:
        limit: how many at a time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running: dict[str, Job] = {}

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *error: object) -> None:
        for job in self.running.values():
            assert job.process.stdin is not None
            job.process.stdin.close()
        until = time.monotonic() + STOP
        while time.monotonic() < until and any(job.process.poll() is None for job in self.running.values()):
            time.sleep(POLL)
        for job in self.running.values():
            job.process.kill()
            job.process.wait()

    @property
    def has_room(self) -> bool:
        """Whether another process may start."""
        return len(self.running) < self.limit

    def start(self, name: str, folder: Path) -> None:
        """Start the process of a run."""
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "sma.training.comparison.worker", str(folder), *imported_names()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(self.limit),
                start_new_session=True,  # Ctrl-C in a terminal reaches this process alone
            )
        job = self.running[name] = Job(name, folder, process)
        job.listener = threading.Thread(target=_listen, args=(job,), daemon=True)
        job.listener.start()

    def ended(self) -> list[Job]:
        """The processes that have ended since the last call."""
        over = [job for job in self.running.values() if job.process.poll() is not None]
        for job in over:
            assert job.listener is not None
            job.listener.join(5)  # what it said last
            del self.running[job.name]
        return over


def environment(n_jobs: int) -> dict[str, str]:
    """The variables of a run's process: cores are shared out, and this package is found as it was here."""
    threads = str(max(1, (os.cpu_count() or 1) // n_jobs))
    path = os.pathsep.join([str(Path(sma.__file__).parents[1]), *_paths()])
    return {"OMP_NUM_THREADS": threads, "GOMP_SPINCOUNT": "20000", **os.environ, "PYTHONPATH": path}


def _paths() -> Iterable[str]:
    given = os.environ.get("PYTHONPATH", "")
    return [part for part in given.split(os.pathsep) if part]


def _listen(job: Job) -> None:
    """Follow what a process tells about itself."""
    assert job.process.stdout is not None
    for line in job.process.stdout:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        job.progress, job.step = told.get("progress", job.progress), told.get("step", job.step)
        job.error = told.get("error", job.error)
