"""Specs: declarative, validated descriptions that build modules."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from sma.checks import near
from sma.spec.bounds import TooManyPartsError, counted, counting
from sma.spec.building import traced
from sma.spec.errors import plain, whole


class Fields(BaseModel):
    """Base of specs and of the values of their fields: frozen, closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    @override
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(values: Any, inner: Callable[[Any], Any]) -> Any:
            with counting() as outermost:
                try:
                    return inner(values)
                except ValidationError as error:
                    raise plain(cls, error) from None
                except TooManyPartsError as error:
                    if not outermost:
                        raise
                    raise whole(cls, str(error)) from None

        return core_schema.no_info_wrap_validator_function(validate, handler(source))

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name in values:
                if name not in cls.model_fields:
                    fields = [field for field in cls.model_fields if field != "kind"]
                    raise ValueError(f"unknown field {name!r}{near(str(name), fields)}")
        return values


class Spec(Fields):
    """Base of all specs: frozen, closed to unknown fields, with a `kind` that names what it builds.

    A *family* is a direct abstract subclass (`RouterSpec`, `MixerSpec`, ...); a kind is unique in its family.
    A concrete spec declares `kind: Literal["my_kind"] = "my_kind"` and implements its family's `build`, and
    joins by the decorator `@register`, or from another package by an entry point in the group `sma.specs`:

        [project.entry-points."sma.specs"]
        my_kind = "my_package:MySpec"

    A package with one kind in two families tells the names apart by a prefix: `"router.my_kind" = ...`.
    """

    kind: str

    @classmethod
    def family(cls) -> type["Spec"]:
        """The direct subclass of `Spec` that this spec descends from."""
        mro = cls.__mro__
        return mro[mro.index(Spec) - 1] if cls is not Spec else Spec

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        build = vars(cls).get("build")
        if build is not None and not getattr(build, "__isabstractmethod__", False):
            type.__setattr__(cls, "build", traced(build))


def as_arguments(spec: Spec, **built: Any) -> dict[str, Any]:
    """The fields of a spec by name, as arguments of what it builds; `kind` is left out.

    Args:
        spec: whose `build` calls this.
        **built: what stands in place of fields, such as the modules of specs.
    """
    return {name: getattr(spec, name) for name in type(spec).model_fields if name != "kind"} | built


def check_parts(spec: Spec) -> None:
    """Raise ValueError unless a spec that was made of others keeps the bounds of those that are read."""

    def count(part: Spec) -> None:
        for child in children(part).values():
            with counted():
                count(child)

    with counting(anew=True):
        try:
            count(spec)
        except TooManyPartsError as error:
            raise ValueError(str(error)) from None


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


def find_part(spec: Spec, error: Exception) -> tuple[str, Spec]:
    """Where the part of a spec stands whose `build` ran into an error, and that part.

    Args:
        spec: whose `build` was called.
        error: what it raised.

    Returns:
        The path of the innermost part that is in the spec, and the innermost of all: a `build` may make some.
    """
    parts: list[Spec] = error.parts  # type: ignore[attr-defined]
    path, around = "", spec
    for part in reversed(parts):
        found = next((place for place, inside in walk(around, path) if inside is part), None)
        if found is not None:
            path, around = found, part
    return path, parts[0]


def origin(spec: type[Spec]) -> str:
    """Module and name of a class."""
    return f"{spec.__module__}.{spec.__qualname__}"
