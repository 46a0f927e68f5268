"""The kinds of a family of specs as Markdown: fields, defaults, bounds, an example, and what is built."""

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_type_hints

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

import sma
import sma.architectures
import sma.modules
import sma.training.config
import sma.transformers.sparsification
from site_pages.markdown import first_paragraph, formulas, linked
from site_pages.samples import sample
from sma import Spec
from sma.spec.registry import FAMILY_KEY, kinds

_PACKAGES = (sma, sma.modules, sma.architectures, sma.training)
_ENTRY = re.compile(r"^ *(\*{0,2}\w+)(?: \([^)]*\))?: ")


def families() -> dict[str, type[Spec]]:
    """Every family by name; `TrainSpec` has no other kinds."""
    return {family.__name__: family for family in Spec.__subclasses__()}


def page(family: str = "TaskSpec") -> str:
    """Every kind of a family, in the order of its name."""
    found = sorted(kinds(families()[family]).items())
    index = ", ".join(f"[`{kind}`](#{anchor(spec)})" for kind, spec in found)
    return "\n\n".join([f"{len(found)} kinds: {index}.", *(_kind(kind, spec) for kind, spec in found)])


def anchor(spec: type[Spec]) -> str:
    """The name of the place on the page of kinds that describes a spec."""
    family = spec.family().__name__.removesuffix("Spec")
    return f"kind-{family}-{spec.model_fields['kind'].default}".lower().replace("_", "-")


def _kind(kind: str, spec: type[Spec]) -> str:
    built = _built(spec)
    text = [f"({anchor(spec)})=", f"### {kind}", linked(first_paragraph(spec)), _builds(built, spec)]
    if rows := list(_rows(spec, meanings(built) | meanings(spec))):
        text.append("\n".join(["| field | takes | default | meaning |", "| --- | --- | --- | --- |", *rows]))
    dumped = yaml.safe_dump(sample(spec), sort_keys=False, default_flow_style=None, width=88)
    return "\n\n".join([*text, f"```yaml\n{dumped}```"])


def _built(spec: type[Spec]) -> type | None:
    """The class that `build` says it returns."""
    made = get_type_hints(spec.build).get("return") if hasattr(spec, "build") else None
    return made if inspect.isclass(made) else None


def _builds(built: type | None, spec: type[Spec]) -> str:
    name = public_name(spec)
    if built is None or not built.__module__.startswith("sma") or inspect.isabstract(built):
        return f"In Python: `{name}`."
    held = public_name(built)
    link = f"{{py:class}}`{held}`" if held in documented() else f"`{held}`"
    return f"{linked(formulas(first_paragraph(built)))}\n\nIn Python: {link}, and `{name}` for the spec."


@cache
def documented() -> frozenset[str]:
    """The names that the pages of the API have."""
    return frozenset(f"{package.__name__}.{name}" for package in _PACKAGES for name in package.__all__)


def public_name(thing: type) -> str:
    """Where a class is imported from: the package that has it in its `__all__`, or else its module."""
    for package in _PACKAGES:
        if getattr(package, thing.__name__, None) is thing and thing.__name__ in package.__all__:
            return f"{package.__name__}.{thing.__name__}"
    return f"{thing.__module__}.{thing.__name__}"


def meanings(thing: Any) -> dict[str, str]:
    """What a docstring says of each argument or attribute, those of base classes included."""
    found: dict[str, str] = {}
    for cls in reversed(inspect.getmro(thing)) if inspect.isclass(thing) else [thing]:
        name = None
        told = (vars(cls).get("__doc__") if inspect.isclass(cls) else cls.__doc__) or ""
        for line in inspect.cleandoc(told).splitlines():
            if not line.startswith("    "):
                name = "" if line.strip() in ("Args:", "Attributes:") else None
            elif name is not None and (entry := _ENTRY.match(line)) and not line.startswith("     "):
                name = entry[1]
                found[name] = line[entry.end() :].strip()
            elif name:
                found[name] += f" {line.strip()}"
    return {name: formulas(text) for name, text in found.items()}


def _rows(spec: type[Spec], known: Mapping[str, str]) -> Iterator[str]:
    for name, field in spec.model_fields.items():
        if name != "kind":
            yield row(name, takes(spec, name), default_of(field), known.get(name, ""))


def row(name: str, values: str, default: str, meaning: str) -> str:
    """A line of a table of fields."""
    return f"| `{name}` | {values} | {default or 'required'} | {meaning.replace('|', chr(92) + '|')} |"


def default_of(field: FieldInfo) -> str:
    """A field's default as it stands in YAML, on one line; nothing if it is required."""
    return "" if field.is_required() else f"`{_shown(field.get_default(call_default_factory=True))}`"


def _shown(value: Any) -> str:
    """A value in YAML; a spec without fields of its own as its kind."""
    if isinstance(value, BaseModel):
        value = {"kind": value.kind, **value.model_dump(mode="json", exclude_unset=True)}
        value = value["kind"] if len(value) == 1 else value
    value = to_jsonable_python(dict(value) if isinstance(value, Mapping) else value)
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("\n...")


def takes(model: type[BaseModel], field: str) -> str:
    """The values that a field of a spec takes, in words."""
    schema = model.model_json_schema()
    return in_words(schema["properties"][field], schema.get("$defs", {}))


def in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The values that a JSON Schema of a field allows."""
    if "$ref" in schema:
        return in_words(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if FAMILY_KEY in schema:
        names = [name.rpartition(".")[2] for name in schema[FAMILY_KEY]]
        return " or ".join(f"[{name}](#family-{name.removesuffix('Spec').lower()})" for name in names)
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(dict.fromkeys(in_words(choice, definitions) for choice in choices))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {in_words(schema['items'], definitions)}" if schema.get("items") else "list"
    if kind == "object" and "properties" in schema:
        return "mapping of " + ", ".join(f"`{name}`" for name in schema["properties"])
    names = {"object": "mapping", "boolean": "true or false", "string": "text", "null": "`null`"}
    return names.get(kind, kind) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    said = [
        f"{words} {_number(schema[key])}"
        for key, words in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
            ("multipleOf", "a multiple of"),
        )
        if key in schema
    ]
    return f" {', '.join(said)}".replace(", to", " to") if said else ""


def _number(value: float) -> str:
    power = value.bit_length() - 1 if isinstance(value, int) else 0
    return f"2^{power}" if power > 13 and value == 2**power else f"{value:,}"
