"""`--set a.b.0.c=value`: changes to a spec before it is validated."""

import copy
from collections.abc import Sequence
from typing import Any

import yaml

from sma import Spec
from sma.architectures.presets.by_name import expand_preset, preset_options
from sma.checks import near
from sma.training.config import TrainSpec

Path = tuple[str, ...]
Assignment = tuple[Path, Any]


def parse_assignment(text: str) -> Assignment:
    """`"a.b.0.c=value"` as a path and a value, read as YAML.

    Raises:
        ValueError: if there is no `=`, or the value is not YAML.

    Example:
        >>> parse_assignment("optimizer.betas=[0.9, 0.98]")
        (('optimizer', 'betas'), [0.9, 0.98])
    """
    name, sign, value = text.partition("=")
    path = tuple(name.strip().split("."))
    if not sign or not all(path):
        raise ValueError(f"--set takes field=value, such as optimizer.weight_decay=0.1, got {text!r}")
    try:
        return path, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"--set {name}: {value!r} is not a YAML value; put it in quotes") from error


def apply_overrides(values: dict[str, Any], assignments: Sequence[Assignment]) -> dict[str, Any]:
    """A copy of the nested fields of a `TrainSpec`, its defaults beside them, with every path assigned.

    Raises:
        ValueError: see `assigned`.
    """
    return assigned({**_defaults(), **values}, assignments)


def assigned(values: dict[str, Any], assignments: Sequence[Assignment]) -> dict[str, Any]:
    """A copy of nested `values` with every path assigned, whatever their order.

    Kinds come first: a new kind starts from its own defaults. Then come options of presets; any other path
    into a preset replaces it by the spec that it stands for.

    Raises:
        ValueError: if a path leads through something that holds no fields, to an item that a list lacks, or
            to what is neither an option of a preset nor a field of its spec.
    """
    result = copy.deepcopy(values)
    for path, value in sorted(assignments, key=lambda pair: _rank(result, pair[0])):
        _assign(result, path, value)
    return result


def _rank(values: dict[str, Any], path: Path) -> int:
    if path[-1] in {"kind", "preset"}:
        return 0
    parent = values.get(path[0]) if len(path) == 2 else None
    is_option = (
        isinstance(parent, dict) and "preset" in parent and path[1] in preset_options(parent["preset"])
    )
    return 1 if is_option else 2


def _defaults() -> dict[str, Any]:
    fields = TrainSpec.model_fields.items()
    return {name: field.get_default() for name, field in fields if not field.is_required()}


def _assign(root: dict[str, Any], path: Path, value: Any) -> None:
    node: Any = root
    for depth, name in enumerate(path[:-1]):
        _expand(node, name)
        node = _child(node, name, path[: depth + 1])
    last = path[-1]
    if last in {"kind", "preset"} and isinstance(node, dict) and node is not root:
        if node.get(last) != value:
            node.clear()
        node[last] = value
    elif isinstance(node, list):
        node[_index(node, last, path)] = value
    else:
        preset = node.get("preset")
        _expand(node, last)
        if preset is not None and "preset" not in node and last not in node:
            raise ValueError(f"preset {preset} has no option {last!r}{near(last, preset_options(preset))}")
        node[last] = value


def _child(node: Any, name: str, path: Path) -> Any:
    """The value of `node` under `name`, as something that can be assigned to."""
    if isinstance(node, list):
        key: Any = _index(node, name, path)
    elif name in node:
        key = name
    else:
        raise ValueError(
            f"there is no field {'.'.join(path)}{near(name, [field for field in node if field != 'kind'])}"
        )
    value = node[key]
    if isinstance(value, str):  # a bare kind is short for {kind: ...}
        value = {"kind": value}
    elif isinstance(value, tuple):
        value = list(value)
    elif isinstance(value, Spec):
        value = value.model_dump(mode="json")
    if not isinstance(value, dict | list):
        raise ValueError(f"{'.'.join(path)} is {value!r} and has no fields; set it as a whole")
    node[key] = value
    return value


def _index(node: list[Any], name: str, path: Path) -> int:
    if name.isdecimal() and int(name) < len(node):
        return int(name)
    whole = ".".join(path[:-1])
    raise ValueError(
        f"there is no item {whole}.{name}: {whole} is a list of {len(node)}, whose items are numbered from 0"
    )


def _expand(node: Any, name: str) -> None:
    """Replace a preset by its spec, in place, if `name` is not an option of it."""
    if isinstance(node, dict) and "preset" in node and name not in preset_options(node["preset"]):
        spec = expand_preset(dict(node))
        node.clear()
        node.update(spec.model_dump(mode="json"))
