"""Files that are read: only regular ones, and no more of them than was asked for."""

import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_whole(path: str | Path, *, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        ValueError: if it is larger, is not a regular file or cannot be read; the message says which.
        FileNotFoundError: if there is no such file.
    """
    check_regular(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > limit:
        raise ValueError(f"{path} is larger than {limit:,} bytes, so it is not such a file; name another one")
    return content


def check_regular(path: str | Path) -> None:
    """Raise an error of one line unless there is a regular file at `path` that may be read.

    A pipe is never opened, since that would wait for a writer.

    Raises:
        ValueError: if it is a folder, a pipe, a device or a socket, or must not be read.
        FileNotFoundError: if there is nothing.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {path}; name one that exists") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise ValueError(f"{path} is {kind}, not a file; name a file")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path} must not be read by this user; change its permissions")


def expanded(path: str, *, field: str) -> Path:
    """The path that a field names, with the home folder in place of `~` or `~name`.

    Raises:
        ValueError: if there is no such home folder; the message names the field.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{field}={path!r}: {error}; name the path without ~") from error


def _unreadable(path: str | Path, error: OSError) -> ValueError:
    return ValueError(
        f"cannot read {path} ({error.strerror or error}); change its permissions or copy it again"
    )
