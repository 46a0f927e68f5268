"""Files of rows: their cells, where they stand, and the package that Parquet needs."""

import sys

import pytest

from sma.training.tasks.reading.table_files import is_table, read_table


def read(path, content, *columns):
    path.write_bytes(content)
    return [(row.place.removeprefix(f"{path}, "), row.cells) for row in read_table(path, columns)]


def test_separated_values(tmp_path):
    content = '\ufeffa,b\r\n1,"two\nlines, and ""quotes"""\r\n\r\n3,ü\r\n'.encode()
    assert read(tmp_path / "x.csv", content, "b") == [
        ("line 3", {"a": "1", "b": 'two\nlines, and "quotes"'}),
        ("line 5", {"a": "3", "b": "ü"}),
    ]
    assert read(tmp_path / "x.TSV", b"a\tb\n1,2\t3\n", "a") == [("line 2", {"a": "1,2", "b": "3"})]


def test_json_lines(tmp_path):
    content = b'{"a": [1, 2], "b": "x"}\n\n  {"a": null, "more": {}}'
    assert read(tmp_path / "x.jsonl", content, "a") == [
        ("line 1", {"a": [1, 2], "b": "x"}),
        ("line 3", {"a": None, "more": {}}),
    ]


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"a": [1, 2], "b": "x"}, {"a": None, "b": "ü"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    content = (tmp_path / "x.parquet").read_bytes()
    assert read(tmp_path / "x.parquet", content, "a", "b") == [("row 1", rows[0]), ("row 2", rows[1])]
    with pytest.raises(ValueError, match=r"x.parquet lacks the column 'c'"):
        read(tmp_path / "x.parquet", content, "c")
    with pytest.raises(ValueError, match=r"x.parquet is damaged or not Parquet"):
        read(tmp_path / "x.parquet", content[:-9], "a")


def test_parquet_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"x.parquet needs the package pyarrow .*activation\[parquet\]'$"):
        read(tmp_path / "x.parquet", b"PAR1", "a")


def test_endings(tmp_path):
    assert is_table(tmp_path / "a.CSV")
    assert not is_table(tmp_path / "csv")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_table(tmp_path / "none.csv", ["a"])
