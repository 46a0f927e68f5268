"""Where two nested values differ."""

import pytest

from sma.training.differences import ABSENT, differences


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, [("a.1.b", 2, 3)]),
        ({"a": [1, 2]}, {"a": [1]}, [("a.1", 2, ABSENT)]),
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, [("a", 1, ABSENT), ("b", 2, 3), ("c", ABSENT, 4)]),
        ({"a": {"b": 1}}, {"a": "text"}, [("a", {"b": 1}, "text")]),
        (1, 2, [("", 1, 2)]),
    ],
)
def test_paths_and_values(first, second, expected):
    assert list(differences(first, second)) == expected
