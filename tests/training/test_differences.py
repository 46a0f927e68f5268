"""Where two nested values differ."""

import pytest

from sma.training.differences import ABSENT, differences, name_differences


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


def test_the_first_differences_are_named_and_the_others_counted():
    found = [(f"field_{i}", i, -i) for i in range(5)]
    wanted = "field_0 (0 there, 0 here), field_1 (1 there, -1 here), field_2 (2 there, -2 here)"
    assert name_differences(found) == f"{wanted} and 2 more"
    assert name_differences(found[:3]) == wanted
