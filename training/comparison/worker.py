"""One run of a comparison in a process of its own; as a program, it is given its folder.

It tells how far it is by lines of JSON, and ends with a checkpoint when the process that started it ends.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from typing_extensions import override

from sma.training.comparison.memory import PeakMemory
from sma.training.imported import import_modules
from sma.training.run.errors import RunError, explain
from sma.training.run.folder import Run
from sma.training.train import resume
from sma.training.trainer import Trainer

INTERVAL = 1.0
"""Seconds between lines."""
PATIENCE = 60.0
"""Seconds that a killed comparison's run, which ends with a checkpoint, is waited for."""


class _Told(PeakMemory):
    """Tells how far the run is, besides measuring memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._next = 0.0

    @override
    def on_step(self, trainer: Trainer, loss: float) -> None:
        super().on_step(trainer, loss)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            _tell(progress=trainer.progress, step=trainer.position.step, loss=loss)

    @override
    def on_notice(self, trainer: Trainer, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def main(folder: str, *modules: str) -> int:
    """Go on with a run, or begin it; the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        import_modules(modules)
        run = Run.open(folder)
        _wait_for_lock(run)
        ending = resume(run, run.spec(), observer=_Told(run.path), command=run_command(), report=False)
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        _tell(error=explained[0])
        return explained[1]
    return 0 if ending in ("finished", "time limit") else 3


def run_command() -> list[str]:
    """What facts.json records as the command."""
    return ["sma", "compare", "..."]


def _tell(**values: object) -> None:
    with suppress(BrokenPipeError):  # whoever listened has ended
        print(json.dumps(values), flush=True)


def _end_with_parent() -> None:
    """Stop this process as SIGTERM does when the pipe that its parent holds is closed."""
    while os.read(0, 1):  # below Python's buffers, whose lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_lock(run: Run) -> None:
    """Wait until a process that still trains the run, as its parent was killed, has left its checkpoint."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with run.lock():
                return
        except RunError:
            if time.monotonic() > until:
                raise
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
