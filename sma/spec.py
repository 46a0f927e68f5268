"""Specs: declarative, validated descriptions that build modules, in an open set of kinds."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    SerializeAsAny,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from sma.spec_errors import plain, whole

ENTRY_POINT_GROUP = "sma.specs"
MAX_DEPTH = 32
MAX_PARTS = 10_000
TOO_MANY_PARTS = (
    f"the spec has more than {MAX_PARTS:,} parts, counted wherever an alias repeats them; write equal blocks "
    "once, with `repeat`"
)
_FAMILY_KEY = "x-family"
_place: ContextVar[tuple[int, Iterator[int]] | None] = ContextVar("place", default=None)
"""How deep in the outermost spec validation stands, and the numbers of the parts to come."""


class Spec(BaseModel):
    """Base of all specs: frozen, closed to unknown fields, with a `kind` that names what it builds.

    A *family* is a direct abstract subclass (`RouterSpec`, `MixerSpec`, ...); a kind is unique in its family.
    A concrete spec declares `kind: Literal["my_kind"] = "my_kind"` and implements its family's `build`, and
    joins by the decorator `@register`, or from another package by an entry point in the group `sma.specs`:

        [project.entry-points."sma.specs"]
        my_kind = "my_package:MySpec"
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str

    @classmethod
    def family(cls) -> type["Spec"]:
        """The direct subclass of `Spec` that this spec descends from."""
        mro = cls.__mro__
        return mro[mro.index(Spec) - 1] if cls is not Spec else Spec

    @property
    def causal(self) -> bool:
        """Whether nothing that this spec builds looks at later elements; what it contains not counted."""
        return not getattr(self, "bidirectional", False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(values: Any, inner: Callable[[Any], Any]) -> Any:
            outermost = _place.set((0, count(1))) if _place.get() is None else None
            try:
                return inner(values)
            except ValidationError as error:
                raise plain(cls, error) from None
            except _TooManyPartsError as error:
                if outermost is None:
                    raise
                raise whole(cls, str(error)) from None
            finally:
                if outermost is not None:
                    _place.reset(outermost)

        return core_schema.no_info_wrap_validator_function(validate, handler(source))

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name in values:
                if name not in cls.model_fields:
                    known = ", ".join(cls.model_fields)
                    raise ValueError(
                        f"unknown field {name!r}{_near(str(name), cls.model_fields)} fields: {known}"
                    )
        return values


SpecType = TypeVar("SpecType", bound=Spec)

_registered: dict[tuple[type[Spec], str], type[Spec]] = {}


def register(spec: type[SpecType]) -> type[SpecType]:
    """Class decorator: make a concrete spec known under its `kind`.

    Raises:
        ValueError: if the spec has no `kind` of its own, or another class holds that kind in its family.
    """
    kind = spec.model_fields["kind"].default
    if not isinstance(kind, str):
        raise ValueError(f'{spec.__qualname__} needs its own kind, as `kind: Literal["name"] = "name"`')
    holder = _registered.setdefault((spec.family(), kind), spec)
    if _origin(holder) != _origin(spec):
        raise ValueError(
            f"kind {kind!r} of {spec.family().__name__} is registered by both {_origin(holder)} and "
            f"{_origin(spec)}; rename one"
        )
    _registered[spec.family(), kind] = spec  # a reloaded module replaces its own class
    return spec


def kinds(family: type[Spec]) -> dict[str, type[Spec]]:
    """All specs of a family by kind: registered ones, and those of installed packages.

    Packages that fail to import are left out here; asking for one of their kinds says why.
    """
    found = {kind: spec for (owner, kind), spec in _registered.items() if owner is family}
    for point in _entry_points():
        try:
            spec = _load(point)
        except ValueError:
            continue
        if spec.family() is family:
            found.setdefault(point.name, spec)
    return found


def find(family: type[SpecType], kind: str) -> type[SpecType]:
    """The spec of a family that is known as `kind`.

    Raises:
        ValueError: if there is none, if two packages claim it, or if its package fails to import; the
            message names the package, or the kinds that exist.
    """
    candidates: dict[type[Spec], str] = {}
    if (family, kind) in _registered:
        spec = _registered[family, kind]
        candidates[spec] = _origin(spec)
    for point in _entry_points():
        if point.name == kind:
            spec = _load(point)
            if spec.family() is family:
                candidates[spec] = f"{_origin(spec)} of the package {_package(point)!r}"
    if len(candidates) > 1:
        claims = " and by ".join(sorted(candidates.values()))
        raise ValueError(f"kind {kind!r} is claimed by {claims}; uninstall or rename one")
    if not candidates:
        known = sorted(kinds(family))
        raise ValueError(
            f"unknown kind {kind!r} of {family.__name__}{_near(kind, known)} known kinds: {', '.join(known)}"
            "; one of another package needs that package installed"
        )
    return next(iter(candidates))  # type: ignore[return-value]


def open_field(family: type[Spec]) -> Callable[[Any], Any]:
    """The validator behind `OneOf`: turns a mapping with a `kind` into that kind's spec."""

    def resolve(value: Any) -> Any:
        if isinstance(value, str):  # a bare kind is short for {kind: ...}
            value = {"kind": value}
        if isinstance(value, Spec):
            return value
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str):
            known = ", ".join(sorted(kinds(family)))
            raise ValueError(f"needs a `kind`, one of: {known}")
        with _inside():
            return find(family, kind).model_validate(value)

    return resolve


@contextmanager
def _inside() -> Iterator[None]:
    depth, numbers = _place.get() or (0, count(1))
    if depth >= MAX_DEPTH:
        raise ValueError(f"specs are nested more than {MAX_DEPTH} deep; write a flatter one")
    if next(numbers) > MAX_PARTS:
        raise _TooManyPartsError(TOO_MANY_PARTS)
    token = _place.set((depth + 1, numbers))
    try:
        yield
    finally:
        _place.reset(token)


class _TooManyPartsError(Exception):
    """Ends a validation at once, as a ValueError would not."""


if TYPE_CHECKING:
    OneOf = Annotated[SpecType, ...]  # to a type checker, OneOf[RouterSpec] is RouterSpec
else:

    class OneOf:
        """`OneOf[RouterSpec]`: a field that takes any kind of a family, from any package.

        The field accepts a spec, a mapping with its `kind`, or a bare kind name, and dumps every field of
        what it holds.
        """

        def __class_getitem__(cls, family: type[SpecType]) -> Any:
            validator = BeforeValidator(open_field(family))
            return Annotated[SerializeAsAny[family], validator, _SchemaReference(family)]  # type: ignore[valid-type]


@dataclass(frozen=True)
class _SchemaReference:
    """Makes a JSON Schema name the family of a field; `_resolve` makes that a reference."""

    family: type[Spec]

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {_FAMILY_KEY: self.family.__name__}


def json_schema(family: type[Spec]) -> dict[str, Any]:
    """The JSON Schema of a family: every kind that is installed, and every family that those refer to.

    Editors complete and check YAML with it.
    """
    definitions: dict[str, Any] = {}
    pending = [family]
    while pending:
        owner = pending.pop()
        if owner.__name__ in definitions:
            continue
        members = kinds(owner)
        definitions[owner.__name__] = {
            "anyOf": [{"$ref": f"#/$defs/{spec.__name__}"} for spec in members.values()]
            + [{"enum": sorted(members), "description": "short for {kind: ...}"}]
        }
        for spec in members.values():
            schema = _resolve(spec.model_json_schema())
            definitions.update(schema.pop("$defs", {}))
            schema["required"] = ["kind", *(name for name in schema.get("required", []) if name != "kind")]
            definitions[spec.__name__] = schema
            pending.extend(_families_in(spec))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": f"#/$defs/{family.__name__}",
        "$defs": definitions,
    }


def _resolve(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_resolve(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    references = {"$ref": f"#/$defs/{schema[_FAMILY_KEY]}"} if _FAMILY_KEY in schema else {}
    return references | {key: _resolve(value) for key, value in schema.items() if key != _FAMILY_KEY}


def _families_in(spec: type[Spec]) -> Iterator[type[Spec]]:
    for field in spec.model_fields.values():
        yield from _families_of(field.annotation, field.metadata)


def _families_of(annotation: Any, metadata: Iterable[Any] = ()) -> Iterator[type[Spec]]:
    yield from (item.family for item in metadata if isinstance(item, _SchemaReference))
    for argument in get_args(annotation):
        yield from _families_of(argument, getattr(argument, "__metadata__", ()))


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def _load(point: EntryPoint) -> type[Spec]:
    package = _package(point)
    try:
        spec = point.load()
    except Exception as error:
        raise ValueError(
            f"kind {point.name!r} comes from the package {package!r}, which fails to import "
            f"({type(error).__name__}: {error}); repair or uninstall it"
        ) from error
    if not (isinstance(spec, type) and issubclass(spec, Spec)):
        raise ValueError(f"the entry point {point.name!r} of {package!r} is {spec!r}, not a Spec class")
    return spec


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def children(spec: Spec) -> dict[str, Spec]:
    """The specs that a spec's fields hold, by path: `mixer`, `branches.0`."""
    found: dict[str, Spec] = {}
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, Spec):
            found[name] = value
        elif isinstance(value, tuple):
            found.update({f"{name}.{i}": item for i, item in enumerate(value) if isinstance(item, Spec)})
    return found


def walk(spec: Spec, path: str = "") -> Iterator[tuple[str, Spec]]:
    """A spec and all specs it contains, each with its dotted path from there ("" for itself)."""
    yield path, spec
    for name, child in children(spec).items():
        yield from walk(child, f"{path}.{name}" if path else name)


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ";"


def _origin(spec: type[Spec]) -> str:
    return f"{spec.__module__}.{spec.__qualname__}"
