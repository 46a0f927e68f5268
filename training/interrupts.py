"""Ctrl-C and SIGTERM: a run finishes its step before it stops."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Literal

CTRL_C = (
    "Ctrl-C: the run stops after this step; then its best weights are tested and its report is written. "
    "Press Ctrl-C again to stop at once; what was saved is kept"
)
SIGTERM = "SIGTERM: the run stops after this step and leaves a checkpoint, without a test"


class Terminated(BaseException):
    """SIGTERM arrived while nothing had to be finished, or when what had to be is."""


@dataclass
class Interrupt:
    """The request that came: by Ctrl-C to be interrupted, by SIGTERM to be terminated."""

    requested: Literal["interrupted", "terminated"] | None = None


@contextmanager
def interruptible(
    say: Callable[[str], None], *, ctrl_c: str = CTRL_C, sigterm: str = SIGTERM
) -> Iterator[Interrupt]:
    """Inside the `with` block the first Ctrl-C or SIGTERM is only noted; the second stops at once.

    Outside the main thread, where signals cannot be caught, nothing is ever requested.

    Args:
        say: called at once with what happens next.
        ctrl_c: this, after Ctrl-C.
        sigterm: this, after SIGTERM.
    """
    interrupt = Interrupt()

    def note(number: int, frame: FrameType | None) -> None:
        if interrupt.requested is not None:
            raise KeyboardInterrupt
        interrupt.requested = "terminated" if number == signal.SIGTERM else "interrupted"
        with suppress(RuntimeError):  # the signal came while the same stream was being written
            say(sigterm if number == signal.SIGTERM else ctrl_c)

    with _handled(note, signal.SIGINT, signal.SIGTERM):
        yield interrupt


@contextmanager
def terminable() -> Iterator[None]:
    """Inside the `with` block SIGTERM raises `Terminated`, which may be caught outside it."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    with _handled(stop, signal.SIGTERM):
        yield


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, older in before.items():
            signal.signal(number, older)
