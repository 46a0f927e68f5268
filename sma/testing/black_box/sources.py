"""The lines of Python that build a model, for programs that show a violation."""

from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any

from torch import nn

from sma.testing.black_box.callers.choosing import is_pretrained
from sma.testing.black_box.programs import LONGEST

_NOT_ARGUMENTS = ("transformers_version", "architectures", "dtype", "model_type", "_name_or_path")


def source_of(model: nn.Module, builder: Callable[[], nn.Module] | None) -> tuple[str, ...] | None:
    """The lines that set `model`.

    A function that builds it is imported. A model of transformers is loaded from where it was, or built from
    its configuration with new weights.

    Returns:
        The lines; None if the model is known as an object only.
    """
    if builder is not None:
        name = builder.__qualname__
        return (
            (f"from {builder.__module__} import {name}", f"model = {name}()") if name.isidentifier() else None
        )
    if not is_pretrained(model) or not type(model).__module__.startswith("transformers."):
        return None
    return _pretrained(model)


def _pretrained(model: Any) -> tuple[str, ...]:
    kind, config = type(model).__name__, type(model.config).__name__
    if model.name_or_path and (Path(model.name_or_path).exists() or "/" in model.name_or_path):
        load = f"model = {kind}.from_pretrained({model.name_or_path!r})"
        return f"from transformers import {kind}", load
    values = {
        name: value for name, value in model.config.to_diff_dict().items() if name not in _NOT_ARGUMENTS
    }
    fields = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return (
        f"from transformers import {config}, {kind}",
        "torch.manual_seed(0)",
        *broken(f"config = {config}({fields})"),
        f"model = {kind}(config)",
    )


def broken(line: str) -> tuple[str, ...]:
    """A call as lines that are not too long.

    Example:
        >>> broken("f(1, 2)")
        ('f(1, 2)',)
    """
    return tuple(
        wrap(line, LONGEST, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    )
