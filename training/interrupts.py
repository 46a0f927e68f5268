"""Ctrl-C that lets a step finish."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """Whether somebody asked to stop."""

    requested: bool = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Inside the `with` block the first Ctrl-C (or SIGTERM) is only noted; the second stops at once.

    Outside the main thread, where signals cannot be caught, nothing is ever requested.
    """
    interrupt = Interrupt()

    def note(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
