"""What is wrong with a spec's `build`: where in the model, of which class and package, and why."""

import re
import traceback
from pathlib import Path

from torch import nn

from sma import SequenceModule, Spec, SubModule
from sma.spec.base import walk
from sma.spec.registry import package_of

WRAPPERS = {SubModule: ", or wrap it in sma.Pointwise", SequenceModule: ", or wrap it in sma.PerElement"}


class PartError(ValueError):
    """A part of a model cannot be built; the message says where it stands."""


def needs_data(error: Exception) -> bool:
    """Whether an error only says that torch's meta device has no data."""
    text = str(error).lower()
    about_meta = re.search("(?<![a-z])meta(?![a-z])", text) and "keyword argument" not in text
    return bool(about_meta) and isinstance(error, RuntimeError | TypeError)


def build_error(spec: Spec, path: str, error: Exception) -> "PartError":
    """The error of a spec that was to be built, as one that a user understands.

    Args:
        spec: what was built.
        path: its place in the model.
        error: what its `build`, or that of a spec in it, raised.
    """
    culprit, line = _origin(error, spec)
    path = next((place for place, part in walk(spec, path) if part is culprit), path)
    if not isinstance(error, ValueError):
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        return PartError(f"{path}: {_name(culprit)} cannot be built ({reason}{line})")
    if package_of(type(culprit)) is not None:
        return PartError(f"{path}: {_name(culprit)} cannot be built ({error})")
    return PartError(f"{path}: {error}")


def check_built(spec: Spec, path: str, module: nn.Module) -> None:
    """Raise ValueError unless a spec built what its family builds."""
    wanted = spec.family().build.__annotations__["return"]  # type: ignore[attr-defined]
    if not isinstance(module, wanted):
        raise PartError(
            f"{path}: {_name(spec)} builds {type(module).__name__}, which is no {wanted.__name__}; derive it "
            f"from that{WRAPPERS.get(wanted, '')}"
        )


def _origin(error: Exception, spec: Spec) -> tuple[Spec, str]:
    """The innermost spec, from `spec` on, whose `build` ran into an error, and the line of its file."""
    culprit, file, line = spec, "", ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        owner, here = frame.f_locals.get("self"), frame.f_code.co_filename
        if frame.f_code.co_name == "build" and isinstance(owner, Spec):
            culprit, file = owner, here
        if here == file:
            line = f"; {Path(here).name}, line {number}"
    return culprit, line


def _name(spec: Spec) -> str:
    package = package_of(type(spec))
    return type(spec).__name__ + (f" of the package {package!r}" if package is not None else "")
