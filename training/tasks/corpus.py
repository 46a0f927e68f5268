"""Text files as data: reading a folder, and splitting its files into training, validation and test."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Annotated

from pydantic import Field

from sma.architectures.files.reading import read_whole

MAX_BYTES = 2**32
"""The largest file that is read."""

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
    """One file of a corpus: its path below the corpus's root, with forward slashes, and its bytes."""

    path: str
    content: bytes

    @property
    def place(self) -> Fraction:
        """A number in [0, 1) that depends on the path alone, on any machine."""
        digest = hashlib.sha256(self.path.encode("utf-8", "surrogateescape")).digest()
        return Fraction(int.from_bytes(digest[:8], "big"), 2**64)


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
                f"{'was' if len(files) == 1 else 'were'} found; add files, or cut large ones into several"
            )
        ordered = sorted(files, key=lambda file: (file.place, file.path))
        n_test = sum(file.place < test_share for file in ordered)
        n_validation = sum(test_share <= file.place < test_share + validation_share for file in ordered)
        n_test = min(max(n_test, 1), len(files) - 2)
        n_validation = min(max(n_validation, 1), len(files) - n_test - 1)
        held_out = n_test + n_validation
        return cls(tuple(ordered[held_out:]), tuple(ordered[n_test:held_out]), tuple(ordered[:n_test]))

    @property
    def sha256(self) -> str:
        """One hash of all paths and contents, whatever the split."""
        digest = hashlib.sha256()
        for file in sorted((*self.training, *self.validation, *self.test), key=lambda file: file.path):
            digest.update(hashlib.sha256(file.path.encode("utf-8", "surrogateescape")).digest())
            digest.update(hashlib.sha256(file.content).digest())
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
    except (NotImplementedError, ValueError) as error:
        raise ValueError(f"task.pattern={pattern!r} is not a pattern below the folder ({error})") from error
    files = []
    for path in paths:
        relative = path.relative_to(root)
        if without.isdisjoint(relative.parts[:-1]):
            content = read_whole(path, limit=MAX_BYTES)
            if content:
                files.append(TextFile(relative.as_posix(), content))
    return files
