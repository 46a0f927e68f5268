"""The format of models' specs, and how those of older versions become today's."""

import copy
from collections.abc import Callable
from typing import Any

import sma

UPGRADE = "upgrade it: pip install --upgrade sparse-modular-activation"

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""By version: what makes the values of a model's spec those of the next version.

The newest version is one more than the last here. A change of a kind or a field that would make older files
wrong adds an entry; the files in tests/format_1 show whether that is so.
"""


def newest_version() -> int:
    """The version that specs are written in."""
    return max(MIGRATIONS, default=0) + 1


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a model's spec in the newest format; those without a version are in it already.

    Args:
        values: with the `format_version` that they were written in; not changed.

    Raises:
        ValueError: if they are newer.

    Example:
        >>> upgrade({"kind": "sequence_model", "format_version": 1})["format_version"]
        1
    """
    version, newest = values.get("format_version"), newest_version()
    if type(version) is not int or version < 1:  # the field says what is wrong with it
        return values
    if version > newest:
        raise ValueError(
            f"format_version={version} is newer than {newest}, the newest that sma {sma.__version__} reads; "
            f"{UPGRADE}"
        )
    if version < newest:
        values = copy.deepcopy(values)
    for older in range(version, newest):
        values = {**MIGRATIONS[older](values), "format_version": older + 1}
    return values
