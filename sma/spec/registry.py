"""The open set of kinds of specs: registering one, finding it, and using it in a field of another spec."""

import inspect
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

from pydantic import BeforeValidator, SerializeAsAny

from sma.checks import near
from sma.spec.base import Spec, origin
from sma.spec.bounds import counted

ENTRY_POINT_GROUP = "sma.specs"
FAMILY_KEY = "x-family"
SpecType = TypeVar("SpecType", bound=Spec)

_registered: dict[tuple[type[Spec], str], type[Spec]] = {}
_lifts: dict[type[Spec], dict[type[Spec], Callable[[Spec], Spec]]] = {}


def register(spec: type[SpecType]) -> type[SpecType]:
    """Class decorator: make a concrete spec known under its `kind`.

    Raises:
        ValueError: if the spec has no `kind` of its own, or lacks a method of its family, such as `build`; if
            another class holds that kind in its family.
    """
    if problem := _incomplete(spec):
        raise ValueError(problem)
    kind = _kind(spec)
    holder = _registered.setdefault((spec.family(), kind), spec)
    if origin(holder) != origin(spec):
        raise ValueError(
            f"kind {kind!r} of {spec.family().__name__} is registered by both {origin(holder)} and "
            f"{origin(spec)}; rename one"
        )
    _registered[spec.family(), kind] = spec  # a reloaded module replaces its own class
    return spec


def kinds(family: type[Spec]) -> dict[str, type[Spec]]:
    """All specs of a family by kind: registered ones, and those of installed packages.

    Kinds that cannot be used, since their package is broken or another claims them too, are left out with a
    warning.
    """
    names = [kind for owner, kind in _registered if owner is family]
    for point in _entry_points():
        if problem := _problem(point):
            _warn(problem)
        elif (spec := point.load()).family() is family:
            names.append(_kind(spec))
    found = {}
    for name in names:
        claims, _ = _claims(family, name)
        if len(claims) == 1:
            found[name] = next(iter(claims))
        else:
            _warn(_contested(family, name, claims))
    return found


def find(family: type[SpecType], kind: str, *others: type[Spec]) -> type[SpecType]:
    """The spec of a family that is known as `kind`.

    A package that claims the kind but is broken only causes a warning where another spec has it.

    Args:
        family: the family.
        kind: the kind.
        others: families whose kinds would do as well, for the hint of an error.

    Raises:
        ValueError: if there is none, if two packages claim it, or if its package fails to import; the
            message names the package, or the kinds that exist.
    """
    claims, problems = _claims(family, kind)
    if len(claims) > 1:
        raise ValueError(_contested(family, kind, claims))
    if claims:
        for problem in problems:
            _warn(problem)
        return next(iter(claims))  # type: ignore[return-value]
    if problems:
        raise ValueError(f"unknown kind {kind!r} of {family.__name__}; {'; '.join(problems)}")
    hint = near(kind, _known(family, *others))
    raise ValueError(
        f"unknown kind {kind!r} of {family.__name__} (is its package installed, or imported?){hint}"
    )


def _claims(family: type[Spec], kind: str) -> tuple[dict[type[Spec], str], list[str]]:
    """The specs that claim a kind, each with where it is from, and what is wrong with packages that would."""
    claims: dict[type[Spec], str] = {}
    problems = []
    if (family, kind) in _registered:
        spec = _registered[family, kind]
        claims[spec] = origin(spec)
    for point in _entry_points():
        if not _names(point, kind):
            continue
        if problem := _problem(point):
            problems.append(problem)
        elif (spec := point.load()).family() is family and _kind(spec) == kind:
            claims[spec] = f"{origin(spec)} of the package {_package(point)!r}"
    return claims, problems


def _contested(family: type[Spec], kind: str, claims: dict[type[Spec], str]) -> str:
    claimants = " and by ".join(sorted(claims.values()))
    return f"kind {kind!r} of {family.__name__} is claimed by {claimants}; uninstall or rename one"


def lifts(field: str) -> Callable[[type[SpecType]], type[SpecType]]:
    """Class decorator: what a field takes may also be written where the spec itself is wanted.

    `{kind: dense, module: {kind: gau}}` is a layer; since `DenseSpec` lifts its `module`, a field for layers
    takes `{kind: gau}` too, and holds the former.

    Args:
        field: a `OneOf` of one family.
    """

    def decorate(spec: type[SpecType]) -> type[SpecType]:
        references = (m for m in spec.model_fields[field].metadata if isinstance(m, FamilyReference))
        (given,) = next(references).families
        _lifts.setdefault(spec.family(), {})[given] = lambda inner: spec(**{field: inner})
        return spec

    return decorate


def lifted_families(family: type[Spec]) -> tuple[type[Spec], ...]:
    """The families whose kinds may be written where `family` is wanted."""
    return tuple(_lifts.get(family, ()))


def open_field(*families: type[Spec]) -> Callable[[Any], Any]:
    """The validator behind `OneOf`: turns a mapping with a `kind` into that kind's spec."""

    def resolve(value: Any) -> Any:
        if isinstance(value, str):  # a bare kind is short for {kind: ...}
            value = {"kind": value}
        spec = value if isinstance(value, Spec) else _read(value, families)
        for family in families if not isinstance(spec, families) else ():
            if spec.family() in lifted_families(family):
                return _lifts[family][spec.family()](spec)
        return spec

    return resolve


def _read(value: Any, families: Sequence[type[Spec]]) -> Spec:
    """The spec of the first family that has the kind, of these and of those that are lifted to them."""
    families = [*families, *(given for family in families for given in lifted_families(family))]
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"needs a `kind`, one of: {', '.join(_known(*families))}")
    family = next((family for family in families if _claims(family, kind)[0]), families[0])
    with counted():
        return find(family, kind, *families).model_validate(value)


def _known(*families: type[Spec]) -> list[str]:
    return sorted({kind for family in families for kind in kinds(family)})


if TYPE_CHECKING:
    OneOf = Annotated[SpecType, ...]  # to a type checker, OneOf[RouterSpec] is RouterSpec
else:

    class OneOf:
        """`OneOf[RouterSpec]`: a field that takes any kind of a family, from any package.

        The field accepts a spec, a mapping with its `kind`, or a bare kind name, and dumps every field of
        what it holds. `OneOf[LayerSpec | BlockSpec]` takes the kinds of both.
        """

        def __class_getitem__(cls, family: Any) -> Any:
            families = get_args(family) or (family,)
            return Annotated[
                SerializeAsAny[family], BeforeValidator(open_field(*families)), FamilyReference(families)
            ]


@dataclass(frozen=True)
class FamilyReference:
    """Makes a JSON Schema name the families of a field; `sma.spec.schema` makes that a reference."""

    families: tuple[type[Spec], ...]

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {FAMILY_KEY: [origin(family) for family in self.families]}


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


@cache  # a package that fails is not imported again and again
def _problem(point: EntryPoint) -> str | None:
    """Why the object that an entry point names is not a kind; None if it is one."""
    entry = f"the entry point {point.name!r} of the package {_package(point)!r}"
    try:
        spec = point.load()
    except (Exception, SystemExit) as error:
        return f"{entry} fails to import ({type(error).__name__}: {error}); repair or uninstall it"
    if not (isinstance(spec, type) and issubclass(spec, Spec)):
        return f"{entry} is {spec!r}, not a Spec class; repair or uninstall it"
    entry = f"{entry} is {origin(spec)}"
    if spec.family() is spec:
        return f"{entry}, which belongs to no family; derive it from one, such as RouterSpec"
    if problem := _incomplete(spec):
        return f"{entry}, but {problem}"
    if not _names(point, _kind(spec)):
        return f"{entry}, whose kind is {_kind(spec)!r}; give both one name"
    return None


class SpecWarning(UserWarning):
    """A kind of an installed package cannot be used."""


@cache  # once
def _warn(problem: str) -> None:
    warnings.warn(problem, SpecWarning, stacklevel=2)


def _names(point: EntryPoint, kind: str) -> bool:
    """Whether an entry point is called `kind`, or `anything.kind`."""
    return f".{point.name}".endswith(f".{kind}")


def _incomplete(spec: type[Spec]) -> str | None:
    """The requirement that a concrete spec does not meet, if any."""
    if not isinstance(_kind(spec), str):
        return f'{spec.__qualname__} needs its own kind, as `kind: Literal["name"] = "name"`'
    if inspect.isabstract(spec):
        missing = ", ".join(sorted(spec.__abstractmethods__))
        return f"{spec.__qualname__} needs a method {missing}, see {spec.family().__qualname__}"
    return None


def _kind(spec: type[Spec]) -> str:
    return spec.model_fields["kind"].default


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def package_of(spec: type[Spec]) -> str | None:
    """The installed package that a spec comes from, if its entry points make it known."""
    top = spec.__module__.partition(".")[0]
    return next((_package(p) for p in _entry_points() if re.split("[.:]", p.value)[0] == top), None)
