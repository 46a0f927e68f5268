"""The lock of a run folder: one process at a time trains a run."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from sma.training.run.errors import RunError

try:
    import fcntl
except ImportError:  # Windows, where folders of runs are not locked
    fcntl = None  # type: ignore[assignment]

FILE = "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder inside the `with` block.

    The system releases it when its owner ends, however that happens; the file stays and means nothing by
    itself.

    Raises:
        RunError: if another process, or another thread of this one, holds it; the message says which process.
        OSError: if the file cannot be opened.
    """
    handle = _open(folder / FILE)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"{folder} is being trained by {_owner(handle)}; wait until it ends, or stop it first"
                ) from None
        os.ftruncate(handle, 0)
        os.write(handle, _signature().encode())
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise RunError(f"{path} is not a regular file, so the run cannot be locked; remove it")
    return handle


def _signature() -> str:
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}"


def _owner(handle: int) -> str:
    text = b""
    with suppress(OSError):
        text = os.read(handle, 300)
    return " ".join(text.decode(errors="replace").split()) or "another process"
