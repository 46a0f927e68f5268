"""ListOps, Text and Retrieval of the Long Range Arena (https://arxiv.org/abs/2011.04006)."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from sma import register
from sma.training.generators.chunks import Chunk
from sma.training.generators.listops import ROLE_OF_TOKEN, ROLES, TOKENS
from sma.training.tasks.published.base import FileLayout, PublishedSpec, rows_of
from sma.training.tasks.published.fairseq_data import read_labelled
from sma.training.tasks.rows import RowPairs, Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.text.byte_classes import BYTE_CLASSES
from sma.training.tasks.text.byte_rows import BYTE_NAMES, byte_rows, join

PREPARED = {"training": "train", "validation": "valid", "test": "test"}
"""The names of the splits in fairseq's preparation."""
PER_PART = 500
LABELS = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}
Length = Annotated[int, Field(ge=1, le=2**24)]


def prepared_files(*sources: str) -> list[str]:
    """The files of fairseq's preparation."""
    folders = (*sources, "label-bin")
    return [
        f"{folder}/{split}.{end}"
        for folder in folders
        for split in PREPARED.values()
        for end in ("bin", "idx")
    ]


def in_parts(rows: Iterator[tuple[bytes, int]], max_length: int) -> Iterator[Chunk]:
    """Rows, cut at `max_length`, and their labels, in parts."""
    while part := list(islice(rows, PER_PART)):
        yield join(part, max_length)


def read_prepared(split: str, root: Path, *, max_length: int, sources: str = "src-bin") -> Iterator[Chunk]:
    """A split of fairseq's preparation, rows cut at `max_length` tokens."""
    whole = read_labelled(root, PREPARED[split], sources=sources)
    lengths = np.diff(whole["ends"], prepend=0)
    kept = np.minimum(lengths, max_length)
    starts = whole["ends"] - lengths
    place = np.arange(len(whole["tokens"])) - np.repeat(starts, lengths)
    tokens = whole["tokens"][place < max_length]
    yield {"tokens": tokens, "ends": np.cumsum(kept), "labels": whole["labels"]}


@register
class LRAListOpsSpec(PublishedSpec):
    """ListOps: `basic_train.tsv`, `basic_val.tsv` and `basic_test.tsv`, or fairseq's preparation.

    Attributes:
        max_length: longer expressions are cut.
    """

    kind: Literal["lra_listops"] = "lra_listops"
    max_length: Length = 2000

    @override
    def layouts(self) -> Sequence[FileLayout]:
        names = {"training": "basic_train.tsv", "validation": "basic_val.tsv", "test": "basic_test.tsv"}
        return [
            FileLayout("the Long Range Arena's", list(names.values()), partial(self._read, names)),
            FileLayout(
                "fairseq's", prepared_files("src-bin"), partial(read_prepared, max_length=self.max_length)
            ),
        ]

    def _read(self, names: Mapping[str, str], split: str, root: Path) -> Iterator[Chunk]:
        return in_parts(_expressions(root / names[split]), self.max_length)

    @override
    def task(self, splits: Mapping[str, Chunk], facts: Mapping[str, str]) -> RowsTask:
        original = facts["layout"] != "fairseq's"
        roles = ROLE_OF_TOKEN if original else None
        return RowsTask(
            {split: rows_of(arrays, "tokens", token_roles=roles) for split, arrays in splits.items()},
            title="ListOps of the Long Range Arena",
            facts=facts,
            classes=[str(digit) for digit in range(10)],
            unit="expression",
            names=[f"{token} " for token in TOKENS] if original else _numbers(splits),
            role_names=ROLES if original else (),
        )


def _expressions(path: Path) -> Iterator[tuple[bytes, int]]:
    index = {token: i for i, token in enumerate(TOKENS)}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t")
        if next(rows, None) != ["Source", "Target"]:
            raise ValueError(f"{path} does not begin with the columns Source and Target; copy it again")
        for number, row in enumerate(rows, 2):
            words = row[0].replace("(", " ").replace(")", " ").split() if len(row) == 2 else []
            if not words or not index.keys() >= set(words) or row[1] not in TOKENS[:10]:
                raise ValueError(f"line {number} of {path} is not an expression and its value; copy it again")
            yield bytes([index[word] for word in words]), int(row[1])


def _numbers(splits: Mapping[str, Chunk]) -> list[str]:
    highest = max(int(arrays["tokens"].max(initial=0)) for arrays in splits.values())
    return [f"{token} " for token in range(highest + 1)]


@register
class LRATextSpec(PublishedSpec):
    """Text: IMDB's `train/pos`, `train/neg`, `test/pos`, `test/neg`, byte by byte, or fairseq's preparation.

    IMDB has no validation split: every tenth training review is held out for it.

    Attributes:
        max_length: longer reviews are cut.
    """

    kind: Literal["lra_text"] = "lra_text"
    max_length: Length = 4000

    @override
    def layouts(self) -> Sequence[FileLayout]:
        folders = [f"{split}/{label}" for split in ("train", "test") for label in ("neg", "pos")]
        return [
            FileLayout("IMDB's", folders, self._read),
            FileLayout(
                "fairseq's", prepared_files("src-bin"), partial(read_prepared, max_length=self.max_length)
            ),
        ]

    def _read(self, split: str, root: Path) -> Iterator[Chunk]:
        return in_parts(_reviews(root, split), self.max_length)

    @override
    def task(self, splits: Mapping[str, Chunk], facts: Mapping[str, str]) -> RowsTask:
        of_bytes = facts["layout"] != "fairseq's"
        return RowsTask(
            {
                split: byte_rows(arrays) if of_bytes else rows_of(arrays, "tokens")
                for split, arrays in splits.items()
            },
            title="Text of the Long Range Arena: the sentiment of IMDB reviews",
            facts=facts,
            classes=["negative", "positive"],
            unit="review",
            names=BYTE_NAMES if of_bytes else _numbers(splits),
            role_names=BYTE_CLASSES if of_bytes else (),
        )


def _reviews(root: Path, split: str) -> Iterator[tuple[bytes, int]]:
    folder = root / ("test" if split == "test" else "train")
    for label, name in enumerate(("neg", "pos")):
        for number, path in enumerate(sorted((folder / name).glob("*.txt"))):
            if split == "test" or (number % 10 == 9) == (split == "validation"):
                content = path.read_bytes()
                if not content:
                    raise ValueError(f"{path} is empty; copy it again")
                yield content, label


@register
class LRARetrievalSpec(PublishedSpec):
    """Retrieval: pairs of papers, `new_aan_pairs.train.tsv`, `.eval.tsv` and `.test.tsv`, or fairseq's.

    Attributes:
        max_length: longer papers are cut.
    """

    kind: Literal["lra_retrieval"] = "lra_retrieval"
    max_length: Length = 4000

    @override
    def layouts(self) -> Sequence[FileLayout]:
        names = {"training": "train", "validation": "eval", "test": "test"}
        files = {split: f"new_aan_pairs.{name}.tsv" for split, name in names.items()}
        return [
            FileLayout("the Long Range Arena's", list(files.values()), partial(self._read, files)),
            FileLayout("fairseq's", prepared_files("src-bin", "src1-bin"), self._read_prepared),
        ]

    def _read(self, files: Mapping[str, str], split: str, root: Path) -> Iterator[Chunk]:
        pairs = _pairs(root / files[split])
        while part := list(islice(pairs, PER_PART)):
            first = join([(text, label) for text, _, label in part], self.max_length)
            second = join([(text, label) for _, text, label in part], self.max_length)
            yield beside(first, second)

    def _read_prepared(self, split: str, root: Path) -> Iterator[Chunk]:
        first, second = (
            next(read_prepared(split, root, max_length=self.max_length, sources=sources))
            for sources in ("src-bin", "src1-bin")
        )
        yield beside(first, second)

    @override
    def task(self, splits: Mapping[str, Chunk], facts: Mapping[str, str]) -> RowsTask:
        return RowsTask(
            {split: apart(arrays) for split, arrays in splits.items()},
            title="Retrieval of the Long Range Arena: do two papers cite each other",
            facts=facts,
            classes=["unrelated", "related"],
            unit="pair",
        )


def beside(first: Chunk, second: Chunk) -> Chunk:
    """Pairs as rows: the elements of the first, then those of the second."""
    lengths = [np.diff(half["ends"], prepend=0) for half in (first, second)]
    ends = np.cumsum(lengths[0] + lengths[1])
    is_second = np.zeros(int(ends[-1]), np.bool_)
    for end, length in zip(ends, lengths[1], strict=True):
        is_second[end - length : end] = True
    tokens = np.empty(len(is_second), first["tokens"].dtype)
    tokens[~is_second], tokens[is_second] = first["tokens"], second["tokens"]
    return {"tokens": tokens, "is_second": is_second, "ends": ends, "labels": first["labels"]}


def apart(arrays: Chunk) -> RowPairs:
    """The pairs that `beside` made rows of."""
    counts = np.add.reduceat(arrays["is_second"], np.r_[0, arrays["ends"][:-1]], dtype=np.int64)
    lengths = np.diff(arrays["ends"], prepend=0) - counts, counts
    parts = arrays["tokens"][~arrays["is_second"]], arrays["tokens"][arrays["is_second"]]
    first, second = (
        Rows(part, np.cumsum(n), arrays["labels"]) for part, n in zip(parts, lengths, strict=True)
    )
    return RowPairs(first, second)


def _pairs(path: Path) -> Iterator[tuple[bytes, bytes, int]]:
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t"), 1):
            if len(row) != 5 or row[0] not in LABELS or not (row[3] and row[4]):
                raise ValueError(
                    f"row {number} of {path} is not a label (0 or 1), two names and two texts; copy it again"
                )
            yield row[3].encode(), row[4].encode(), LABELS[row[0]]
