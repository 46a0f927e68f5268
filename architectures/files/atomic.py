"""Files that are written whole or not at all."""

import os
import re
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_DAY = 24 * 60 * 60
_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_PART = re.compile(r"\.(?P<file>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.part")
_writing: set[str] = set()
"""The temporary folders in which this process is writing."""


def write_whole(path: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Replace the file at `path`, or leave everything as it was.

    The new file is written into a temporary folder beside the old one, synced to disk, and takes its place
    by one rename. What killed writers of the same file left behind is removed.

    Args:
        path: of the file; its folder exists.
        content: of the file, text in UTF-8, or a function that writes it to the path that it is given.

    Raises:
        OSError: if it cannot be written; its `filename` is `path`.
    """
    try:
        remove_leftovers(path.parent, path.name)
        with _part(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode
            if callable(content):
                content(temporary)
            else:
                temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            temporary.chmod(mode)  # some writers make files that only their owner can read
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def sync_folder(path: Path) -> None:
    """Make a rename inside a folder survive a power cut, where the system can open folders."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed writers left in a folder: temporary copies of the file `name`, or of every file.

    Those of a writer that may still be at work stay: of a live process, or of another machine within a day.
    """
    for path in folder.iterdir():
        match = _PART.fullmatch(path.name)
        if match and name in (None, match["file"]) and _is_left(path, match["host"], int(match["pid"])):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """A file's path in a new folder beside `path`, which is removed afterwards."""
    folder = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")
    _writing.add(folder.name)
    try:
        folder.mkdir()
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _writing.discard(folder.name)


def _is_left(path: Path, host: str, pid: int) -> bool:
    if host == _HOST and os.name == "posix":
        if pid == os.getpid():
            return path.name not in _writing
        if not _is_alive(pid):
            return True
    try:
        newest = max(part.stat().st_mtime for part in (path, *path.iterdir()))
    except OSError:  # its writer has just removed it
        return False
    return time.time() - newest > _DAY


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
