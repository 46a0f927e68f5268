"""The rows of each split of a table: by file, by a column, or by the hash of what a model reads of them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from sma.training.tasks.reading.table_files import TableRow, read_table
from sma.training.tasks.text.corpus import TextFile
from sma.training.tasks.text.named_splits import NAMES, check_apart, own_splits

SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class RowSplits:
    """Where the rows of each split are.

    Attributes:
        files: of the splits that have files of their own; `training` always does.
        shares: of the training files' rows, for validation and test where they have no files.
        hashed: the columns by whose content rows are dealt out, so that equal rows share a split.
        column: that says each row's split; None: files and hashes do.
    """

    files: dict[str, list[Path]]
    shares: tuple[float, float]
    hashed: Sequence[str]
    column: str | None = None

    @classmethod
    def of(
        cls,
        named: Mapping[str, Sequence[TextFile]],
        *,
        shares: tuple[float, float],
        hashed: Sequence[str],
        column: str | None,
    ) -> "RowSplits":
        """Files of one list whose own names say their splits are dealt out by these names.

        Raises:
            ValueError: if a training file is held out as well.
        """
        if set(named) == {"training"} and len(named["training"]) > 1 and column is None:
            of_folder = [replace(file, path=PurePosixPath(file.path).name) for file in named["training"]]
            own = own_splits(of_folder, shares)
            named = named if own is None else own.named
        check_apart(named)
        files = {
            split: [file.source for file in some if isinstance(file.source, Path)]
            for split, some in named.items()
        }
        return cls(files, shares, hashed, column)

    @property
    def how(self) -> str:
        """A sentence on how rows are dealt out."""
        if self.column is not None:
            return f"as the column {self.column!r} says"
        files = "; ".join(
            f"{split} from {', '.join(path.name for path in paths)}" for split, paths in self.files.items()
        )
        missing = [split for split in SPLITS if split not in self.files]
        return f"{files}; {' and '.join(missing)} by the hash of training rows" if missing else files

    def rows(self, split: str, columns: Sequence[str]) -> Iterator[TableRow]:
        """The rows of a split.

        Raises:
            ValueError: if there are none; if a file cannot be read, see `read_table`.
        """
        n = 0
        wanted = [*columns, *([] if self.column is None else [self.column])]
        own = split in self.files and self.column is None
        for path in self.files[split if own else "training"]:
            for row in read_table(path, wanted):
                if (own and split != "training") or self.split_of(row) == split:
                    n += 1
                    yield row
        if not n:
            raise ValueError(self._nothing(split))

    def split_of(self, row: TableRow) -> str:
        """The split of a row of the training files.

        Raises:
            ValueError: if its column says something else than a split.
        """
        if self.column is not None:
            said = str(row.cells[self.column]).strip().lower()
            if said not in NAMES:
                raise ValueError(
                    f"{row.place}: {self.column!r} is {said!r}, not a split; write one of {', '.join(NAMES)}"
                )
            return NAMES[said]
        content = json.dumps([row.cells[name] for name in self.hashed], default=str)
        place = (
            int.from_bytes(hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()[:8], "big")
            / 2**64
        )
        start = 0.0
        for split, share in zip(("test", "validation"), reversed(self.shares), strict=True):
            if split not in self.files:
                if start <= place < start + share:
                    return split
                start += share
        return "training"

    def _nothing(self, split: str) -> str:
        if self.column is not None:
            return f"no row has a {split} split in the column {self.column!r}; give it some rows"
        if split in self.files:
            names = ", ".join(str(path) for path in self.files[split])
            return f"the {split} split has no rows in {names}; give it some"
        return (
            f"none of the training rows falls into the {split} split; set a larger task.{split}_share, or "
            f"name its files by task.{split}"
        )
