"""The base of the tasks on published files: the folder, the choice of a layout, and prepared rows."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from typing_extensions import override

from sma.architectures.files.reading import expanded
from sma.training.generators.cache import cached, load_arrays, progress, write_split
from sma.training.generators.chunks import Chunk
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.task import TaskSpec

SPLITS = ("training", "validation", "test")
Folder = Annotated[str, Field(min_length=1)]


class FileLayout(NamedTuple):
    """One way in which the files of a data set are laid out.

    Attributes:
        name: which it is.
        files: below the folder; all must be there.
        read: gives the rows of a split, part by part.
    """

    name: str
    files: Sequence[str]
    read: Any


class PublishedSpec(TaskSpec):
    """The base of the tasks on published files.

    Attributes:
        folder: where the files are.
    """

    folder: Folder

    @abstractmethod
    def layouts(self) -> Sequence[FileLayout]:
        """The layouts that are known; `read(split, folder)` yields parts of the split."""

    @abstractmethod
    def task(self, splits: Mapping[str, Chunk], facts: Mapping[str, str]) -> RowsTask:
        """The task of prepared splits."""

    @override
    def build(self) -> RowsTask:
        root, layout = find_layout(self.folder, self.layouts(), self.kind)
        key = {
            **self.model_dump(mode="json"),
            "layout": layout.name,
            "files": fingerprint(root, layout.files),
        }

        def make(folder: Path) -> dict[str, str]:
            facts = {"layout": layout.name}
            for split in SPLITS:
                parts = _told(layout.read(split, root), f"reading the {split} data of {root}")
                facts[f"SHA-256 of the {split} data"] = write_split(folder, split, parts)
            return facts

        prepared, facts = cached(self.kind, key, make)
        return self.task({split: load_arrays(prepared, split) for split in SPLITS}, facts)


def find_layout(folder: str, layouts: Sequence[FileLayout], what: str) -> tuple[Path, FileLayout]:
    """The folder and the first layout whose files are all there.

    Raises:
        ValueError: if there is none; the message says what was looked for.
    """
    root = expanded(folder, field="task.folder")
    if not root.is_dir():
        raise ValueError(
            f"task.folder={folder!r} is not a folder; name the one that holds the data of {what}"
        )
    for layout in layouts:
        if all((root / name).exists() for name in layout.files):
            return root, layout
    wanted = "; or ".join(
        f"{', '.join(layout.files)} ({layout.name}; missing: "
        f"{', '.join(name for name in layout.files if not (root / name).exists())})"
        for layout in layouts
    )
    raise ValueError(f"{root} does not hold the data of {what}; it needs {wanted}")


def fingerprint(root: Path, names: Sequence[str]) -> str:
    """A hash of sizes and times of some files or folders, by which a changed data set is prepared anew."""
    digest = hashlib.sha256(str(root.resolve()).encode())
    for name in names:
        status = (root / name).stat()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def rows_of(arrays: Chunk, name: str, **options: Any) -> Rows:
    """Rows of prepared arrays, whose values are called `name`."""
    return Rows(arrays[name], arrays["ends"], arrays["labels"], **options)


def _told(parts: Iterator[Chunk], title: str) -> Iterator[Chunk]:
    with progress(title, None) as advance:
        for part in parts:
            yield part
            advance(len(part["labels"]))
