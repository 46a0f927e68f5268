"""Rows of a table as rows of a model: what their cells hold, and their labels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sma.checks import near
from sma.training.tasks.reading.table_files import TableRow, read_table
from sma.training.tasks.rows import Rows
from sma.training.tasks.task import IGNORED
from sma.training.tasks.text.tokenizer import Bytes, Tokenizer

Form = Literal["text", "tokens", "features"]


@dataclass(frozen=True)
class RowReader:
    """Reads the inputs and labels of a model from the rows of a table.

    Attributes:
        inputs: the column of the inputs, or several columns of numbers, each of which is one element.
        label: the column of the label; None: rows have none.
        form: what the inputs are: text, integers from 0, or numbers (a list of numbers is a row with one
            feature, a list of lists one with several).
        tokenizer: of text.
        max_length: the most elements of a row; None for no limit.
        longer: what happens to longer rows.
    """

    inputs: str | Sequence[str]
    label: str | None
    form: Form = "text"
    tokenizer: Tokenizer = field(default_factory=Bytes)
    max_length: int | None = None
    longer: Literal["refuse", "cut"] = "refuse"

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [*self.input_columns, *([] if self.label is None else [self.label])]

    @property
    def input_columns(self) -> list[str]:
        """The columns of the inputs."""
        return [self.inputs] if isinstance(self.inputs, str) else list(self.inputs)

    def values(self, row: TableRow) -> NDArray[Any]:
        """`(L,)` integers or `(L, F)` features.

        Raises:
            ValueError: if a cell does not hold what it should, or there are too many elements.
        """
        if isinstance(self.inputs, str):
            value, where = row.cells[self.inputs], f"{row.place}: {self.inputs!r}"
        else:
            value, where = [row.cells[name] for name in self.inputs], f"{row.place}: {', '.join(self.inputs)}"
        found = to_values(value, self.form, self.tokenizer, where)
        if self.max_length is None or len(found) <= self.max_length:
            return found
        if self.longer == "refuse":
            raise ValueError(
                f"{where} has {len(found):,} elements, more than max_length={self.max_length}; set a larger "
                "task.max_length, or task.longer=cut"
            )
        return found[: self.max_length]

    def label_of(self, row: TableRow) -> str:
        """The label, as text.

        Raises:
            ValueError: if there is none.
        """
        assert self.label is not None
        return label_text(row.cells[self.label], f"{row.place}: {self.label!r}")

    def rows(self, path: Path, classes: Sequence[str], *, labelled: bool, like: Rows) -> Rows:
        """All rows of a file, in memory.

        Args:
            path: of the file.
            classes: the names of labels 0, 1, ...
            labelled: whether labels are read; if not, they are `IGNORED`.
            like: rows of the task, with the same scale, and as many features.

        Raises:
            ValueError: if the file has no rows, or not such rows; the message names file and row.
        """
        if labelled and self.label is None:
            raise ValueError(
                f"{path} cannot be scored, since this task's files have no labels; use sma predict"
            )
        numbers = {name: number for number, name in enumerate(classes)}
        parts, labels = [], []
        for row in read_table(path, self.columns if labelled else self.input_columns):
            parts.append(self.values(row))
            check_width(parts[-1], like.values, row.place)
            labels.append(number_of(self.label_of(row), numbers, row.place) if labelled else IGNORED)
        if not parts:
            raise ValueError(f"{path} has no rows; give it some")
        ends = np.cumsum([len(part) for part in parts])
        return Rows(np.concatenate(parts), ends, np.array(labels, np.int64), scale=like.scale)


def to_values(value: Any, form: Form, tokenizer: Tokenizer, where: str) -> NDArray[Any]:
    """The content of a cell as `(L,)` integers or `(L, F)` features.

    Raises:
        ValueError: if it holds something else, or nothing; the message begins with `where`.
    """
    found = _tokens_of_text(value, tokenizer, where) if form == "text" else _numbers(value, form, where)
    if len(found) == 0:
        raise ValueError(f"{where} is empty; fill it, or remove the row")
    return found


def _tokens_of_text(value: Any, tokenizer: Tokenizer, where: str) -> NDArray[Any]:
    if value is None:
        raise ValueError(f"{where} is empty; fill it, or remove the row")
    if not isinstance(value, str | bytes):
        raise ValueError(
            f"{where} is {_short(value)}, not text; write text, or set form to tokens or features"
        )
    return tokenizer.encode(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)


def _numbers(value: Any, form: Form, where: str) -> NDArray[Any]:
    try:
        if isinstance(value, str):  # in a cell of a CSV file
            value = json.loads(value) if value.lstrip().startswith("[") else value.replace(",", " ").split()
        array = np.asarray(value)
        found = array.astype(np.float64) if array.dtype.kind in "biufU" else np.full(1, np.nan)
    except (ValueError, TypeError):
        found = np.full(1, np.nan)
    if not np.isfinite(found).all():
        raise ValueError(f"{where} is {_short(value)}, not finite numbers; correct it, or remove the row")
    if form == "tokens":
        if found.ndim != 1 or (found < 0).any() or (found != np.round(found)).any() or (found >= 2**31).any():
            raise ValueError(f"{where} is {_short(value)}, not a list of integers from 0; correct it")
        return found.astype(np.int32)
    if found.ndim not in (1, 2):
        raise ValueError(f"{where} has {found.ndim} dimensions; give a list of numbers, or a list of lists")
    return found.astype(np.float32).reshape(len(found), -1 if found.size else 1)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_width(part: NDArray[Any], first: NDArray[Any], place: str) -> None:
    """See that rows have as many features as the first.

    Raises:
        ValueError: if they have not.
    """
    if part.shape[1:] != first.shape[1:]:
        raise ValueError(
            f"{place}, has {part.shape[1]} features per element, and rows before it {first.shape[1]}; give "
            "all rows the same features"
        )


def label_text(value: Any, where: str) -> str:
    """A label as text: 1 for 1, 1.0 and "1".

    Raises:
        ValueError: if it is empty.
    """
    if isinstance(value, np.generic) or hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value.strip() if isinstance(value, str) else json.dumps(value, default=str)
    if text in ("", "null", "NaN"):
        raise ValueError(f"{where} is empty; write a label, or remove the row")
    return text


def number_of(label: str, numbers: Mapping[str, int], place: str) -> int:
    """The number of a label.

    Raises:
        ValueError: if it has none.
    """
    if label not in numbers:
        raise ValueError(
            f"{place}, has the label {label!r}, which is neither a training row's nor in task.labels; "
            f"correct it, or list it there{near(label, list(numbers))}"
        )
    return numbers[label]


def in_order(labels: Sequence[str]) -> list[str]:
    """Labels in the order of their numbers if all are integers, else of the alphabet."""
    try:
        return sorted(labels, key=int)
    except ValueError:
        return sorted(labels)
