"""The peak memory of training: of the GPU, or of this process as Linux counts it."""

import contextlib
import json
import re
from pathlib import Path

import torch
from typing_extensions import override

from sma.architectures.files.atomic import write_whole
from sma.training.trainer import Observer, Trainer

FILE = "memory.json"
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory(Observer):
    """Writes how much more memory training takes at its peak than the process had before the first step.

    On a GPU that is what torch allocated there, weights included. On Linux it is resident memory; validations
    are included. Elsewhere nothing is written.

    Args:
        folder: where memory.json is kept; a resumed run keeps the higher peak.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._peak = read_peak(folder) or 0
        self._before = 0

    @override
    def on_start(self, trainer: Trainer) -> None:
        if trainer.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.device)
            return
        with contextlib.suppress(OSError):
            _CLEAR.write_text("5")  # forget the peak so far
        self._before = _resident("VmRSS") or 0

    @override
    def on_step(self, trainer: Trainer, loss: float) -> None:
        peak = self._now(trainer)
        if peak is not None and peak > self._peak:
            self._peak = peak
            write_whole(self.folder / FILE, json.dumps({"peak_memory": peak}) + "\n")

    def _now(self, trainer: Trainer) -> int | None:
        if trainer.device.type == "cuda":
            return torch.cuda.max_memory_allocated(trainer.device)
        peak = _resident("VmHWM")
        return None if peak is None else max(peak - self._before, 0)


def read_peak(folder: Path) -> int | None:
    """The peak that was written; None if there is none that can be read."""
    try:
        return int(json.loads((folder / FILE).read_text())["peak_memory"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _resident(name: str) -> int | None:
    """Bytes of this process, by their name in /proc."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else 1024 * int(found[1])
