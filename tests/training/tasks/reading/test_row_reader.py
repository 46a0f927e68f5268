"""The content of cells: text, tokens, features and labels."""

import numpy as np
import pytest

from sma.training.tasks.reading.row_reader import RowReader, in_order, label_text, to_values
from sma.training.tasks.rows import Rows
from sma.training.tasks.task import IGNORED
from sma.training.tasks.text.tokenizer import Bytes
from tests.training.tables import write_jsonl


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        ("aé", "text", [97, 195, 169]),
        ([3, 0], "tokens", [3, 0]),
        ("[3, 0]", "tokens", [3, 0]),
        ("3 0", "tokens", [3, 0]),
        (["1.5", "-2"], "features", [[1.5], [-2]]),
        ("1.5, -2", "features", [[1.5], [-2]]),
        ([[1, 2], [3, 4]], "features", [[1, 2], [3, 4]]),
        ("[[1, 2], [3, 4]]", "features", [[1, 2], [3, 4]]),
        ([True, False], "features", [[1], [0]]),
    ],
)
def test_values(value, form, expected):
    found = to_values(value, form, Bytes(), "here")
    assert found.dtype.kind == ("f" if form == "features" else "i" if form == "tokens" else "u")
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("value", "form", "message"),
    [
        ("", "text", "here is empty; fill it"),
        (None, "text", "here is empty; fill it"),
        (b"", "text", "here is empty"),
        ([], "features", "here is empty"),
        ("", "features", "here is empty"),
        ([], "tokens", "here is empty"),
        ([1], "text", r"here is \[1\], not text"),
        ([1, None], "features", r"here is \[1, None\], not finite numbers"),
        ([1, float("inf")], "features", "not finite numbers"),
        ([[1], [1, 2]], "features", "not finite numbers"),
        ({"a": 1}, "features", "not finite numbers"),
        ([[[1]]], "features", "here has 3 dimensions"),
        (3, "features", "here has 0 dimensions"),
        ([1.5], "tokens", r"not a list of integers from 0"),
        ([2**31], "tokens", r"not a list of integers from 0"),
        ([[1]], "tokens", r"not a list of integers from 0"),
    ],
)
def test_other_values_are_named(value, form, message):
    with pytest.raises(ValueError, match=message):
        to_values(value, form, Bytes(), "here")


def test_labels():
    values = [1, 1.0, "1", " 1 ", np.int64(1), True, 0.5, "x"]
    assert [label_text(value, "here") for value in values] == ["1"] * 5 + ["true", "0.5", "x"]
    for empty in ("", " ", None, float("nan")):
        with pytest.raises(ValueError, match="here is empty; write a label"):
            label_text(empty, "here")
    assert in_order(["10", "9", "-1"]) == ["-1", "9", "10"]
    assert in_order(["b", "10", "9"]) == ["10", "9", "b"]


def test_rows_of_a_file(tmp_path):
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"x": [1, 2], "y": "b"}, {"x": [3], "y": "a"}])
    like = Rows(np.zeros((1, 1), "f4"), np.array([1]), np.array([0]), scale=2.0)
    reader = RowReader("x", "y", "features")
    rows = reader.rows(path, ["a", "b"], labelled=True, like=like)
    assert rows.labels.tolist() == [1, 0]
    assert rows.padded([0, 1])[0][..., 0].tolist() == [[0.5, 1], [1.5, 0]]
    assert (
        RowReader("x", None, "features").rows(path, [], labelled=False, like=like).labels.tolist()
        == [IGNORED] * 2
    )
    with pytest.raises(ValueError, match=r"files have no labels; use sma predict"):
        RowReader("x", None, "features").rows(path, [], labelled=True, like=like)
    write_jsonl(path, [{"x": [[1, 2]], "y": "b"}])
    with pytest.raises(ValueError, match=r"a.jsonl, line 1, has 2 features per element"):
        reader.rows(path, ["a", "b"], labelled=True, like=like)
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"a.jsonl has no rows"):
        reader.rows(path, ["a", "b"], labelled=True, like=like)
