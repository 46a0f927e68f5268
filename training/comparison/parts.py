"""The parts of specs as JSON values: finding those of a kind, and writing out repeated blocks."""

import copy
from collections.abc import Iterator
from typing import Any

from sma import Spec


def dumped(spec: Spec) -> dict[str, Any]:
    """A spec as JSON values."""
    return spec.model_dump(mode="json")


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in nested values, the outer before the inner, in order."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from parts(inner)


def of_kind(value: Any, kind: str) -> list[dict[str, Any]]:
    """The parts of a kind, in order."""
    return [part for part in parts(value) if part.get("kind") == kind]


def first_value(value: Any, field: str) -> Any:
    """The first value of a field that is not None, in any part; None if there is none."""
    return next((part[field] for part in parts(value) if part.get(field) is not None), None)


def unrolled(model: dict[str, Any]) -> dict[str, Any]:
    """A copy of a model's values in which every block stands by itself, so that each may be changed alone.

    Example:
        >>> unrolled({"blocks": [{"kind": "residual", "repeat": 2}]})["blocks"]
        [{'kind': 'residual', 'repeat': 1}, {'kind': 'residual', 'repeat': 1}]
    """
    return {key: _unrolled(key, value) for key, value in copy.deepcopy(model).items()}


def _unrolled(key: str, value: Any) -> Any:
    if isinstance(value, list):
        inner = [_unrolled("", item) for item in value]
        return [copy.deepcopy(one) for item in inner for one in _copies(item)] if key == "blocks" else inner
    if not isinstance(value, dict):
        return value
    inner_values = {name: _unrolled(name, part) for name, part in value.items()}
    if key == "layer" and inner_values.get("repeat", 1) > 1:
        return {"kind": "stack", "repeat": 1, "blocks": list(map(copy.deepcopy, _copies(inner_values)))}
    return inner_values


def _copies(block: Any) -> list[Any]:
    return (
        [{**block, "repeat": 1}] * block["repeat"]
        if isinstance(block, dict) and "repeat" in block
        else [block]
    )
