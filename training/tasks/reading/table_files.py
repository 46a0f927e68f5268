"""Files of rows with named columns: CSV, JSON Lines and Parquet, read row by row."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sma.architectures.files.reading import check_regular
from sma.checks import near
from sma.lazy import needs

MAX_CELL = 2**31 - 1
"""The longest cell of a CSV file, in characters."""


class TableRow(NamedTuple):
    """One row: where it stands, as in `a.csv, line 3`, and its cells by the name of their column."""

    place: str
    cells: dict[str, Any]


def read_table(path: Path, columns: Sequence[str]) -> Iterator[TableRow]:
    """The rows of a file, which have at least these columns.

    Raises:
        ValueError: if the file cannot be read, is damaged or is not what its ending says, or a row lacks a
            column; the message names file and row.
    """
    check_regular(path)
    if not is_table(path):
        raise ValueError(f"{path} is not a table; name a file that ends with {', '.join(_READERS)}")
    return _READERS[path.suffix.lower()](path, columns)


def is_table(path: Path) -> bool:
    """Whether the ending of a file says that it is a table."""
    return path.suffix.lower() in _READERS


def _separated(path: Path, columns: Sequence[str]) -> Iterator[TableRow]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            place = f"{path}, line {reader.line_num}"
            if header is None:
                header = _checked(path, cells, columns)
            elif cells and len(cells) != len(header):
                raise ValueError(
                    f"{place}, has {len(cells)} cells, and the first line names {len(header)} columns; "
                    "correct the line, or copy the file again"
                )
            elif cells:
                yield TableRow(place, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}, is not well formed ({error}); correct the line, or copy the "
            "file again"
        ) from error
    if header is None:
        raise ValueError(f"{path} is empty; its first line must name the columns")


def _json_lines(path: Path, columns: Sequence[str]) -> Iterator[TableRow]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{place}, is not JSON ({error}); write one object on each line, or copy the file again"
            ) from error
        if not isinstance(cells, dict):
            raise ValueError(f"{place}, is not a JSON object; write one object on each line")
        for column in columns:
            if column not in cells:
                raise ValueError(f"{place}, lacks {column!r}{near(column, list(cells))}")
        yield TableRow(place, cells)


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[TableRow]:
    with needs("parquet", str(path)):
        import pyarrow.lib
        import pyarrow.parquet
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _checked(path, file.schema_arrow.names, columns)
            for batch in file.iter_batches(batch_size=1024, columns=list(columns) or None):
                for cells in batch.to_pylist():
                    number += 1
                    yield TableRow(f"{path}, row {number}", cells)
    except (pyarrow.lib.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged or not Parquet ({reason}); copy it again") from error


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode()
                yield text.removeprefix("\ufeff") if number == 1 else text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {number}, is not UTF-8 text ({error.reason}); convert the file, or copy it again"
        ) from error
    except OSError as error:
        raise ValueError(f"cannot read {path} ({error.strerror or error}); copy it again") from error


def _checked(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[str]:
    twice = [name for name, n in Counter(header).items() if n > 1]
    if twice:
        raise ValueError(f"{path} has two columns {twice[0]!r}; rename one")
    for column in columns:
        if column not in header:
            raise ValueError(f"{path} lacks the column {column!r}{near(column, list(header))}")
    return list(header)


def text_of(row: TableRow, column: str) -> bytes:
    """The text in a column, in UTF-8; empty for null.

    Raises:
        ValueError: if it is something else.
    """
    value: Any = row.cells[column]
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{row.place}: {column!r} is {value!r}, not text; write text, or null")
    return (value or "").encode("utf-8", "surrogatepass")


_READERS = {
    ".csv": _separated,
    ".tsv": _separated,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
    ".parquet": _parquet,
}
