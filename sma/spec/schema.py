"""The JSON Schema of specs, with which editors complete and check YAML."""

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from sma.spec.base import Spec, origin
from sma.spec.registry import FAMILY_KEY, FamilyReference, kinds, lifted_families


def json_schema(family: type[Spec]) -> dict[str, Any]:
    """The JSON Schema of a family: every kind that is installed, and every family that those refer to.

    A definition has the name of its class, with its module where
    another class has that name already.
    """
    members: dict[type[Spec], dict[str, type[Spec]]] = {}
    pending = [family]
    while pending:
        owner = pending.pop()
        if owner not in members:
            members[owner] = kinds(owner)
            pending.extend(other for spec in members[owner].values() for other in _families_in(spec))
            pending.extend(lifted_families(owner))
    specs = [spec for found in members.values() for spec in found.values()]
    names: dict[str, str] = {}
    for spec in (*members, *specs):
        plain_name = spec.__name__ not in names.values()
        names.setdefault(origin(spec), spec.__name__ if plain_name else origin(spec))
    definitions: dict[str, Any] = {}
    for owner, found in members.items():
        definitions[names[origin(owner)]] = {
            "anyOf": [{"$ref": f"#/$defs/{names[origin(spec)]}"} for spec in found.values()]
            + [{"$ref": f"#/$defs/{names[origin(family)]}"} for family in lifted_families(owner)]
            + [{"enum": sorted(found), "description": "short for {kind: ...}"}]
        }
    for spec in specs:
        name = names[origin(spec)]
        schema = spec.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
        inner = schema.pop("$defs", {})
        definitions |= {f"{name}.{part}": definition for part, definition in inner.items()}
        schema["required"] = ["kind", *(field for field in schema.get("required", []) if field != "kind")]
        definitions[name] = schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": f"#/$defs/{names[origin(family)]}",
        "$defs": _resolve(definitions, names),
    }


def _resolve(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_resolve(item, names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    references = [{"$ref": f"#/$defs/{names[family]}"} for family in schema.get(FAMILY_KEY, ())]
    together = references[0] if len(references) == 1 else {"anyOf": references} if references else {}
    return together | {key: _resolve(value, names) for key, value in schema.items() if key != FAMILY_KEY}


def _families_in(spec: type[Spec]) -> Iterator[type[Spec]]:
    for field in spec.model_fields.values():
        yield from _families_of(field.annotation, field.metadata)


def _families_of(annotation: Any, metadata: Iterable[Any] = ()) -> Iterator[type[Spec]]:
    for item in metadata:
        yield from item.families if isinstance(item, FamilyReference) else ()
    for argument in get_args(annotation):
        yield from _families_of(argument, getattr(argument, "__metadata__", ()))
