"""Classification of the rows of a table."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from sma import register
from sma.architectures.files.atomic import write_whole
from sma.training.generators.cache import cached, load_arrays, progress, whole_or_damaged, write_split
from sma.training.generators.chunks import Chunk
from sma.training.tasks.reading.row_reader import (
    Form,
    RowReader,
    check_width,
    in_order,
    label_text,
    number_of,
)
from sma.training.tasks.reading.table_files import TableRow
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.tables.row_splits import SPLITS, RowSplits
from sma.training.tasks.tables.table_spec import Name, TableSpec

PART = 4096
"""Rows that are written at once."""
CLASSES = "classes.json"
N_SHOWN = 20
"""Classes that the facts count."""


@register
class TableClassificationSpec(TableSpec):
    """Say the label of a row of a table.

    The rows are prepared once, and mapped from the cache. Their elements are bytes or tokens of text, given
    integers, or given numbers.

    Attributes:
        inputs: the column of the inputs; or several columns of numbers, each of which is one element.
        label: the column of the label.
        form: what the inputs are: `text`, `tokens` (lists of integers from 0) or `features` (lists of
            numbers, or of lists of numbers). Several columns are features.
        labels: the classes, in order; None: those of the training rows.
        max_length: the most elements of a row; None for no limit.
        longer: `refuse` longer rows, or `cut` them.
    """

    kind: Literal["table_classification"] = "table_classification"
    inputs: Name | Annotated[list[Name], Field(min_length=1)]
    label: Name
    form: Form = "text"
    labels: Annotated[list[str | int | bool], Field(min_length=2)] | None = None
    max_length: Annotated[int, Field(ge=1)] | None = None
    longer: Literal["refuse", "cut"] = "refuse"

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: list[str | int | bool] | None) -> list[str | int | bool] | None:
        twice = [name for name, n in Counter(map(str, labels or ())).items() if n > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} is listed twice; leave one out")
        return labels

    @model_validator(mode="after")
    def _check_form(self) -> "TableClassificationSpec":
        if not isinstance(self.inputs, str) and self.form != "features":
            raise ValueError(
                f"several columns of inputs are numbers, so set form to features, not {self.form}"
            )
        return self

    @override
    def build(self) -> RowsTask:
        reader = RowReader(
            self.inputs if isinstance(self.inputs, str) else tuple(self.inputs),
            self.label,
            self.form,
            self.opened_tokenizer(),
            self.max_length,
            self.longer,
        )
        splits = self.row_splits(reader.input_columns)

        def make(folder: Path) -> dict[str, str]:
            return _Preparation(splits, reader, self.labels).write(folder)

        folder, facts = cached("table", self.cache_key(splits, reader.tokenizer), make)
        with whole_or_damaged(folder):
            met = json.loads((folder / CLASSES).read_text())
        classes = in_order(met) if self.labels is None else met
        names = ", ".join(path.name for path in splits.files["training"])
        return RowsTask(
            {split: _load(folder, split, met, classes) for split in SPLITS},
            title=f"the column {self.label!r} of {names}",
            facts={"split": splits.how, "inputs": ", ".join(reader.input_columns), **facts},
            classes=classes,
            names=reader.tokenizer.names if self.form == "text" else None,
            reader=reader,
        )


@dataclass
class _Preparation:
    """Writes the rows of the splits, in order, and learns the classes from the training rows.

    Attributes:
        splits: where the rows are.
        reader: reads them.
        numbers: of the classes; those of `listed`, or else given in the order in which labels are met.
        counts: training rows per class.
        first: the values of the first row.
    """

    splits: RowSplits
    reader: RowReader
    listed: list[Any] | None
    numbers: dict[str, int] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    first: NDArray[Any] | None = None

    def write(self, folder: Path) -> dict[str, str]:
        """Fill the folder of the cache; facts."""
        if self.listed is not None:
            self.numbers = {label_text(name, "task.labels"): i for i, name in enumerate(self.listed)}
        facts = dict(self.reader.tokenizer.facts)
        for split in SPLITS:
            facts[f"SHA-256 of the {split} data"] = write_split(folder, split, self._parts(split))
            if split == "training":
                self._check_classes()
        shown = sorted(self.numbers, key=lambda name: -self.counts[self.numbers[name]])[:N_SHOWN]
        more = f", and {len(self.numbers) - N_SHOWN:,} more" if len(self.numbers) > N_SHOWN else ""
        counts = ", ".join(f"{name}: {self.counts[self.numbers[name]]:,}" for name in shown)
        write_whole(folder / CLASSES, json.dumps(list(self.numbers)))
        return {**facts, "training rows per class": counts + more}

    def _check_classes(self) -> None:
        empty = [name for name, number in self.numbers.items() if not self.counts[number]]
        if empty:
            raise ValueError(
                f"no training row has the label {empty[0]!r}; give it some, or leave it out of task.labels"
            )
        if len(self.numbers) < 2:
            raise ValueError(
                f"all training rows have the label {next(iter(self.numbers))!r} in the column "
                f"{self.reader.label!r}; give rows of another, or name another column by task.label"
            )

    def _parts(self, split: str) -> Iterator[Chunk]:
        """The rows of a split, many at a time."""
        values: list[NDArray[Any]] = []
        labels: list[int] = []
        with progress(f"reading the {split} rows", None) as advance:
            for row in self.splits.rows(split, self.reader.columns):
                values.append(self.reader.values(row))
                self.first = values[0] if self.first is None else self.first
                check_width(values[-1], self.first, row.place)
                labels.append(self._number(row, split))
                if len(values) == PART:
                    yield _chunk(values, labels)
                    advance(PART)
                    values, labels = [], []
        if values:
            yield _chunk(values, labels)

    def _number(self, row: TableRow, split: str) -> int:
        """The number of a row's label."""
        label = self.reader.label_of(row)
        if split == "training" and self.listed is None:
            self.numbers.setdefault(label, len(self.numbers))
        number = number_of(label, self.numbers, row.place)
        if split == "training":
            self.counts[number] += 1
        return number


def _chunk(values: list[NDArray[Any]], labels: list[int]) -> Chunk:
    ends = np.cumsum([len(value) for value in values])
    return {"values": np.concatenate(values), "ends": ends, "labels": np.array(labels)}


def _load(folder: Path, split: str, met: list[str], classes: list[str]) -> Rows:
    """The rows of a split, whose labels were numbered as they were met, numbered as `classes` are."""
    arrays = load_arrays(folder, split)
    numbers = np.array([classes.index(name) for name in met])
    return Rows(arrays["values"], arrays["ends"], numbers[arrays["labels"]])
