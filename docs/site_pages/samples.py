"""An example of every kind: as a file of examples/ has it, or else with values for what is required."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from sma import Spec
from sma.architectures import DenseSpec, parse_spec
from sma.spec.base import walk
from sma.spec.registry import FAMILY_KEY, FamilyReference, kinds

_FOLDER = Path(__file__).parents[2] / "examples"
_MOST = 400
"""Characters of an example from a file; a longer one is shortened to what is required."""
_FIELDS = {
    "graph_convolution": {"name": "GATv2Conv"},
    "table_text": {"train": "data.csv"},
    "text_files": {"folder": "texts"},
    "torch": {"name": "SGD"},
}
"""Fields of some kinds: names that there must be, and one of several of which one is required."""
_TEXT = {"label": "label", "text": "text", "project": "mine"}
_NUMBERS = {"capacity": 0.5, "rate": 0.3, "n_classes": 10, "max_positions": 1024}


def sample(spec: type[Spec]) -> dict[str, Any]:
    """The fields of an example that the spec takes."""
    found = _used().get(spec)
    return found if found is not None else _smallest(spec)


@cache
def _used() -> dict[type[Spec], dict[str, Any]]:
    """The specs of all files of examples/ with the fields that were set there, the shortest of each."""
    found: dict[type[Spec], dict[str, Any]] = {}
    for path in sorted(_FOLDER.glob("*.yaml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        for _, part in walk(parse_spec(values.get("model", values))):
            fields = _set(part)
            shortest = len(str(found.get(type(part), "x" * _MOST)))
            if len(fields) > 1 and len(str(fields)) < shortest:
                found[type(part)] = fields
    return found


def _set(spec: Spec) -> dict[str, Any]:
    """A spec's kind, and the fields that were set."""
    names = [name for name in type(spec).model_fields if name in spec.model_fields_set and name != "kind"]
    return {"kind": spec.kind, **{name: _plain(getattr(spec, name)) for name in names}}


def _plain(value: Any) -> Any:
    if isinstance(value, DenseSpec):  # a sub-module may stand for itself where a layer is wanted
        return _plain(value.module)
    if isinstance(value, Spec):
        fields = _set(value)
        return fields if len(fields) > 1 else value.kind
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return to_jsonable_python(dict(value) if isinstance(value, Mapping) else value)


def _smallest(spec: type[Spec]) -> dict[str, Any]:
    schema = spec.model_json_schema()
    fields = {
        name: _value(name, schema["properties"][name], field.metadata)
        for name, field in spec.model_fields.items()
        if field.is_required()
    }
    kind = spec.model_fields["kind"].default
    return {"kind": kind, **fields, **_FIELDS.get(kind, {})}


def _value(name: str, schema: Mapping[str, Any], metadata: Any) -> Any:
    if FAMILY_KEY in schema:
        (reference,) = (item for item in metadata if isinstance(item, FamilyReference))
        return next(_without_required(reference.families[0]))
    if "anyOf" in schema or "oneOf" in schema:
        return _value(name, schema.get("anyOf", schema.get("oneOf"))[0], metadata)
    if schema.get("type") == "array":
        return [_value(name, schema.get("items", {}), metadata)]
    if schema.get("type") in ("integer", "number"):
        return _NUMBERS.get(name, 8 if schema["type"] == "integer" else 0.5)
    if "enum" in schema:
        return schema["enum"][0]
    return _TEXT.get(name, f"data/{name}" if name in ("folder", "train", "path") else name)


def _without_required(family: type[Spec]) -> Iterator[str]:
    for kind, spec in kinds(family).items():
        if not any(field.is_required() for field in spec.model_fields.values()):
            yield kind
