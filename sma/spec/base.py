"""Specs: declarative, validated descriptions that build modules."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from sma.checks import near
from sma.spec.errors import plain, whole

MAX_DEPTH = 32
MAX_PARTS = 10_000
TOO_DEEP = f"specs are nested more than {MAX_DEPTH} deep; write a flatter one"
TOO_MANY_PARTS = (
    f"the spec has more than {MAX_PARTS:,} parts, counted wherever an alias repeats them; write equal blocks "
    "once, with `repeat`"
)
_place: ContextVar[tuple[int, Iterator[int]] | None] = ContextVar("place", default=None)
"""How deep in the outermost spec validation stands, and the numbers of the parts to come."""


class Spec(BaseModel):
    """Base of all specs: frozen, closed to unknown fields, with a `kind` that names what it builds.

    A *family* is a direct abstract subclass (`RouterSpec`, `MixerSpec`, ...); a kind is unique in its family.
    A concrete spec declares `kind: Literal["my_kind"] = "my_kind"` and implements its family's `build`, and
    joins by the decorator `@register`, or from another package by an entry point in the group `sma.specs`:

        [project.entry-points."sma.specs"]
        my_kind = "my_package:MySpec"

    A package with one kind in two families tells the names apart by a prefix: `"router.my_kind" = ...`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str

    @classmethod
    def family(cls) -> type["Spec"]:
        """The direct subclass of `Spec` that this spec descends from."""
        mro = cls.__mro__
        return mro[mro.index(Spec) - 1] if cls is not Spec else Spec

    @override
    def __copy__(self) -> "Spec":
        copied = super().__copy__()
        vars(copied).pop("build", None)  # that of a part which is being checked, see `check_builds`
        return copied

    @classmethod
    @override
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
                    raise ValueError(f"unknown field {name!r}{near(str(name), cls.model_fields)}")
        return values


@contextmanager
def counted() -> Iterator[None]:
    """Count one more spec, one level deeper, of the outermost one that is being validated.

    Raises:
        ValueError: if it is nested too deep.
    """
    depth, numbers = _place.get() or (0, count(1))
    if depth >= MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    if next(numbers) > MAX_PARTS:
        raise _TooManyPartsError(TOO_MANY_PARTS)
    token = _place.set((depth + 1, numbers))
    try:
        yield
    finally:
        _place.reset(token)


class _TooManyPartsError(Exception):
    """Ends a validation at once, as a ValueError would not."""


def check_parts(spec: Spec) -> None:
    """Raise ValueError unless a spec that was made of others keeps the bounds of those that are read."""
    level, n_parts = [spec], 0
    for depth in count():
        n_parts += len(level)
        if n_parts > MAX_PARTS:
            raise ValueError(TOO_MANY_PARTS)
        if depth > MAX_DEPTH:
            raise ValueError(TOO_DEEP)
        level = [child for part in level for child in children(part).values()]
        if not level:
            return


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


def origin(spec: type[Spec]) -> str:
    """Module and name of a class."""
    return f"{spec.__module__}.{spec.__qualname__}"
