"""Text files as data: reading a folder, and splitting its files into training, validation and test."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Annotated

from pydantic import Field

from sma.architectures.files.reading import check_regular

BLOCK = 2**24
"""Bytes of a file that are read at once."""

SEPARATOR = b"\0"
"""Stands before every file: what the first byte of a file is predicted from."""

NOT_SOURCE = ("site-packages", "dist-packages", "test", "tests", "idle_test", "pydoc_data", "encodings")
"""Folders of the standard library that are left out.

They hold other people's code, tests, and generated files: one huge text, and character tables that are nearly
copies of each other, so that a held-out one would not be unseen.
"""

Share = Annotated[float, Field(gt=0, lt=0.5)]
Length = Annotated[int, Field(ge=2, le=2**24)]


@dataclass(frozen=True)
class TextFile:
    """One file of a corpus, or a part of one.

    Attributes:
        path: below the corpus's root, with forward slashes.
        source: its bytes, or the file that holds them.
        start: where the part begins, in bytes.
        stop: where it ends; None: with the source.
    """

    path: str
    source: bytes | Path
    start: int = 0
    stop: int | None = None

    @property
    def place(self) -> Fraction:
        """A number in [0, 1) that depends on the path alone, on any machine."""
        digest = hashlib.sha256(self.path.encode("utf-8", "surrogateescape")).digest()
        return Fraction(int.from_bytes(digest[:8], "big"), 2**64)

    @property
    def size(self) -> int:
        """The number of bytes."""
        whole = self.source.stat().st_size if isinstance(self.source, Path) else len(self.source)
        return (whole if self.stop is None else min(self.stop, whole)) - self.start

    @property
    def content(self) -> bytes:
        """All bytes."""
        return b"".join(self.blocks())

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """The bytes, in blocks of `size`.

        Raises:
            ValueError: if the file cannot be read.
        """
        stop = self.start + self.size
        if isinstance(self.source, bytes):
            yield from (self.source[i : min(i + size, stop)] for i in range(self.start, stop, size))
            return
        check_regular(self.source)
        try:
            with self.source.open("rb") as file:
                file.seek(self.start)
                for i in range(self.start, stop, size):
                    yield file.read(min(size, stop - i))
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(
                f"cannot read {self.source} ({reason}); change its permissions or copy it again"
            ) from error

    def cut(self, shares: Sequence[float]) -> list["TextFile"]:
        """Consecutive parts of about these shares, each but the last ending with a line if it has several."""
        stop = self.start + self.size
        begin, parts, done = self.start, [], 0.0
        for share in shares[:-1]:
            done += share
            end = self.start + round(done * self.size)
            near = max(begin, end - 2**16)
            before = b"".join(TextFile(self.path, self.source, near, end).blocks())
            end = near + before.rfind(b"\n") + 1 if b"\n" in before else end
            parts.append(TextFile(self.path, self.source, begin, end))
            begin = end
        return [*parts, TextFile(self.path, self.source, begin, stop)]


@dataclass(frozen=True)
class Corpus:
    """Text files, each wholly in one of three splits, in the order of `TextFile.place`."""

    training: tuple[TextFile, ...]
    validation: tuple[TextFile, ...]
    test: tuple[TextFile, ...]

    @classmethod
    def split(cls, files: Sequence[TextFile], *, validation_share: float, test_share: float) -> "Corpus":
        """Split files by the hash of their paths; each split gets at least one.

        Adding or removing a file moves no other file, except in corpora so small that a split would be empty.

        Raises:
            ValueError: if there are fewer than three files.
        """
        if len(files) < 3:
            raise ValueError(
                f"training, validation and test need a text file each, and only {len(files)} with text "
                f"{'was' if len(files) == 1 else 'were'} found; add files, or name them by task.train, whose "
                "ends are held out then"
            )
        ordered = sorted(files, key=lambda file: (file.place, file.path))
        n_test = sum(file.place < test_share for file in ordered)
        n_validation = sum(test_share <= file.place < test_share + validation_share for file in ordered)
        n_test = min(max(n_test, 1), len(files) - 2)
        n_validation = min(max(n_validation, 1), len(files) - n_test - 1)
        held_out = n_test + n_validation
        return cls(tuple(ordered[held_out:]), tuple(ordered[n_test:held_out]), tuple(ordered[:n_test]))

    @property
    def files(self) -> tuple[TextFile, ...]:
        """All files."""
        return (*self.training, *self.validation, *self.test)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return sum(file.size for file in self.files)

    @property
    def sha256(self) -> str:
        """One hash of all paths and contents, whatever the split."""
        digest = hashlib.sha256()
        for file in sorted(self.files, key=lambda file: (file.path, file.start)):
            digest.update(hashlib.sha256(file.path.encode("utf-8", "surrogateescape")).digest())
            content = hashlib.sha256()
            for block in file.blocks():
                content.update(block)
            digest.update(content.digest())
        return digest.hexdigest()


def read_files(
    root: Path, pattern: str, *, without: set[str] | frozenset[str] = frozenset()
) -> list[TextFile]:
    """All non-empty files below `root` that match a glob, except below folders named in `without`.

    Raises:
        ValueError: if a file cannot be read, or the pattern is not a glob below `root`.
    """
    if ".." in PurePath(pattern).parts:
        raise ValueError(f"task.pattern={pattern!r} leads out of the folder; leave out '..'")
    try:
        paths = sorted(path for path in root.glob(pattern) if path.is_file())
    except RecursionError:
        raise ValueError(f"task.pattern={pattern!r} is nested too deep; write a shorter one") from None
    except (NotImplementedError, ValueError) as error:
        raise ValueError(f"task.pattern={pattern!r} is not a pattern below the folder ({error})") from error
    files = []
    for path in paths:
        relative = path.relative_to(root)
        if without.isdisjoint(relative.parts[:-1]):
            check_regular(path)
            if path.stat().st_size:
                files.append(TextFile(relative.as_posix(), path))
    return files
