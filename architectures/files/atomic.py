"""Files that are written whole or not at all."""

import os
import re
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

Content = bytes | str | Callable[[Path], object]

_DAY = 24 * 60 * 60
_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_PART = re.compile(r"\.(?P<file>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.part")
_writing: set[str] = set()
"""The temporary folders in which this process is writing."""


def write_whole(path: Path, content: Content) -> None:
    """Replace the file at `path`, or leave everything as it was; see `write_together`."""
    write_together({path: content})


def write_together(contents: Mapping[Path, Content]) -> None:
    """Replace the files of one folder, or leave everything as it was.

    New files are written into temporary folders beside the old ones and synced to disk; then they take their
    places by one rename each. The first of several is missing meanwhile, so that no mixture of old and new
    is ever taken for a whole. A file that holds its content already stays. What killed writers of the same
    files left behind is removed.

    Args:
        contents: by path, the content of each file: bytes, text for UTF-8, or a function that writes it to
            the path that it is given. The folder exists.

    Raises:
        OSError: if one cannot be written; its `filename` is that of the file.
    """
    contents = {path: content for path, content in contents.items() if not _holds(path, content)}
    if not contents:
        return
    first = path = next(iter(contents))
    try:
        with ExitStack() as parts:
            written = {}
            for path, content in contents.items():
                remove_leftovers(path.parent, path.name)
                written[path] = parts.enter_context(temporary_beside(path))
                _write(written[path], content)
            if len(written) > 1:
                first.unlink(missing_ok=True)
            for path in reversed(written):
                os.replace(written[path], path)
        sync_folder(first.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _holds(path: Path, content: Content) -> bool:
    if callable(content) or not path.is_file():
        return False
    expected = content.encode() if isinstance(content, str) else content
    return path.stat().st_size == len(expected) and path.read_bytes() == expected


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
def temporary_beside(path: Path) -> Iterator[Path]:
    """A file's path in a new folder beside `path`, which is removed afterwards."""
    folder = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")
    _writing.add(folder.name)
    try:
        folder.mkdir()
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _writing.discard(folder.name)


def _write(path: Path, content: Content) -> None:
    path.touch()
    mode = path.stat().st_mode
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)  # some writers make files that only their owner can read
    with path.open("rb+") as file:
        os.fsync(file.fileno())


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
