"""Where two nested values differ."""

from collections.abc import Iterator, Sequence
from typing import Any

ABSENT = "-"
N_NAMED = 3


def differences(first: Any, second: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two nests of mappings and lists differ: dotted path, first value, second value.

    A value that only one of them has is `ABSENT` in the other.

    Example:
        >>> list(differences({"a": [1, 2]}, {"a": [1, 3], "b": 0}))
        [('a.1', 2, 3), ('b', '-', 0)]
    """
    if isinstance(first, list) and isinstance(second, list):
        first, second = dict(enumerate(first)), dict(enumerate(second))
    if not (isinstance(first, dict) and isinstance(second, dict)):
        if first != second:
            yield path, first, second
        return
    for key in [*first, *(key for key in second if key not in first)]:
        place = f"{path}.{key}" if path else str(key)
        yield from differences(first.get(key, ABSENT), second.get(key, ABSENT), place)


def name_differences(found: Sequence[tuple[str, Any, Any]]) -> str:
    """The first differences of what is there from what is given here, and how many more there are.

    Example:
        >>> name_differences([("a.1", 2, 3)])
        'a.1 (2 there, 3 here)'
    """
    shown = ", ".join(f"{path} ({there!r} there, {here!r} here)" for path, there, here in found[:N_NAMED])
    return shown + (f" and {len(found) - N_NAMED} more" if len(found) > N_NAMED else "")
