"""Errors of specs: one line per mistake, with the path of the field."""

import reprlib
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from typing_extensions import override

Place = tuple[int | str, ...]
MAX_MISTAKES = 20


def plain(spec: type[BaseModel], error: ValidationError) -> ValidationError:
    """The same error, without branches of unions in its paths and without what only follows from a mistake.

    Args:
        spec: what was being validated.
        error: as pydantic raised it.
    """
    mistakes: dict[Place, InitErrorDetails] = {}
    details = error.errors(include_url=False)
    for detail in details:
        if len(mistakes) == MAX_MISTAKES:
            more = PydanticCustomError("value_error", "there are more mistakes; mend these first")
            mistakes[()] = InitErrorDetails(type=more, loc=(), input=None)
            break
        kind, message, place = detail["type"], detail["msg"].removeprefix("Value error, "), detail["loc"]
        if kind == "too_short" and any(_is_inside(other["loc"], place) for other in details):
            continue  # it counts only the items that are right
        place = tuple(part for part in place if not _is_branch(part))
        if kind == "missing":
            message = "is missing; set it"
        elif _may_be_none(spec, place):
            message += "; null (None) is allowed too"
        if place in mistakes:
            message = f"{mistakes[place]['type']}; or: {message}"
        line = PydanticCustomError(kind, _cut(message))
        mistakes[place] = InitErrorDetails(type=line, loc=place, input=_shown(detail["input"]))
    return ValidationError.from_exception_data(error.title, list(mistakes.values()))


class _Abridged(reprlib.Repr):
    """Stands in an error for a value that may be endless: YAML's aliases nest and repeat."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.maxlevel = 2
        self.value = value

    @override
    def __repr__(self) -> str:
        return self.repr(self.value)

    @override
    def repr_instance(self, x: object, level: int) -> str:
        """A spec by its name: reprlib would have it written out first."""
        return f"{type(x).__name__}(...)" if isinstance(x, BaseModel) else super().repr_instance(x, level)


def _cut(message: str) -> str:
    """A message without most of a value that is too long to read."""
    return message if len(message) <= 2000 else f"{message[:500]} ... {message[-500:]}"


def _shown(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else _Abridged(value)


def whole(spec: type[BaseModel], message: str, place: Place = (), value: object = None) -> ValidationError:
    """The error of a spec with one mistake, which has no place in it unless one is given."""
    mistake = InitErrorDetails(type=PydanticCustomError("value_error", _cut(message)), loc=place, input=value)
    return ValidationError.from_exception_data(spec.__name__, [mistake])


def one_line(error: ValidationError) -> str:
    """The error of a spec in one line: every wrong field, its value, and what is allowed."""
    parts = []
    for detail in error.errors(include_url=False):
        path, value = ".".join(map(str, detail["loc"])), detail["input"]
        is_shown = detail["type"] != "missing" and (value is None or isinstance(value, str | int | float))
        shown = f"={_short(value)}" if is_shown else ""
        parts.append(f"{path}{shown}: {detail['msg']}" if path else detail["msg"])
    return " ".join(" | ".join(parts).split())


def _may_be_none(spec: type[BaseModel], place: Place) -> bool:
    """Whether a place is a field of this very spec that takes None."""
    field = spec.model_fields.get(str(place[0])) if len(place) == 1 else None
    return field is not None and type(None) in get_args(field.annotation)


def _is_inside(place: Place, other: Place) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


def _is_branch(part: int | str) -> bool:
    """Whether a part of a location names a branch of a union, and not a field."""
    return isinstance(part, str) and any(mark in part for mark in "[(-")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."
