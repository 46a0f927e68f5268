"""Building from specs: what goes wrong names the part, and a model is tried without memory."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import unwrap
from pathlib import Path
from typing import Any, get_origin

import torch

from sma.sequence import SequenceModule
from sma.sub_module import SubModule

_WRAPPERS: dict[type, str] = {
    SubModule: ", or wrap it in sma.Pointwise",
    SequenceModule: ", or wrap it in sma.PerElement",
}
_check: ContextVar[Callable[[Any, Any], None] | None] = ContextVar("check", default=None)


def traced(build: Callable[..., Any]) -> Callable[..., Any]:
    """A spec's `build` whose errors know the spec: `error.parts` holds it, and then every spec around it.

    It raises ValueError where it does not build what the `build` of its family is annotated to return.
    """

    @wraps(build)
    def building(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            built = build(self, *args, **kwargs)
            _check_family(self, built)
            if (check := _check.get()) is not None:
                check(self, built)
        except Exception as error:
            vars(error).setdefault("parts", []).append(self)
            raise
        return built

    return building


@contextmanager
def trying(check: Callable[[Any, Any], None]) -> Iterator[None]:
    """Inside, modules are built without memory, on torch's meta device, and equal ones of a list once.

    Random numbers are afterwards as they were.

    Args:
        check: called with every spec and what it builds, to raise ValueError.
    """
    token = _check.set(check)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            yield
    finally:
        _check.reset(token)


def only_tried() -> bool:
    """Whether what is built is only to see whether it can be."""
    return _check.get() is not None


def needs_data(error: Exception) -> bool:
    """Whether an error only says that the meta device has no data, for which torch has no class of errors."""
    text = str(error).lower()
    about_meta = re.search("(?<![a-z])meta(?![a-z])", text) and "keyword argument" not in text
    return bool(about_meta) and isinstance(error, RuntimeError | TypeError)


def line_of(error: Exception) -> str:
    """File and line where an error left the `build` that ran into it."""
    file = unwrap(type(error.parts[0]).build).__code__.co_filename  # type: ignore[attr-defined]
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{Path(file).name}, line {lines[-1]}"


def _check_family(spec: Any, built: Any) -> None:
    wanted = getattr(spec.family().build, "__annotations__", {}).get("return")
    if not isinstance(wanted, type) or get_origin(wanted) is not None or isinstance(built, wanted):
        return
    if built is None:
        raise ValueError(
            f"{type(spec).__name__}.build returns nothing; end it with `return` and the {wanted.__name__}"
        )
    raise ValueError(
        f"{type(spec).__name__} builds {type(built).__name__}, which is not a {wanted.__name__}; derive it "
        f"from that{_WRAPPERS.get(wanted, '')}"
    )
