"""The lines of Python that build a model, for programs that show a violation."""

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from textwrap import wrap
from typing import Any

from torch import nn

from sma.testing.black_box.callers.choosing import is_pretrained
from sma.testing.black_box.programs import LONGEST

_NOT_ARGUMENTS = ("transformers_version", "architectures", "dtype", "model_type", "_name_or_path", "sparsify")


def source_of(model: nn.Module, builder: Callable[[], nn.Module] | None) -> tuple[str, ...] | None:
    """The lines that set `model`.

    A function that builds it is imported. A model of transformers is loaded from where it was, or built from
    its configuration with new weights.

    Returns:
        The lines; None if the model is known as an object only.
    """
    if builder is not None:
        name = getattr(builder, "__qualname__", "")
        return (
            (f"from {builder.__module__} import {name}", f"model = {name}()") if name.isidentifier() else None
        )
    if not is_pretrained(model) or not type(model).__module__.startswith("transformers."):
        return None
    return _pretrained(model)


def _pretrained(model: Any) -> tuple[str, ...]:
    kind, config = type(model).__name__, type(model.config).__name__
    if model.name_or_path and (Path(model.name_or_path).exists() or "/" in model.name_or_path):
        loaded_by = getattr(model, "loaded_by", "")  # the Auto class of a sparsified model's folder
        kind, made = loaded_by or kind, () if loaded_by else _sparsified(model)
        imports = ("import sma.transformers",) if loaded_by else ()
        load = f"model = {kind}.from_pretrained({model.name_or_path!r})"
        return (*imports, f"from transformers import {kind}", load, *made)
    known = signature(type(model.config)).parameters
    values = {
        name: value
        for name, value in model.config.to_diff_dict().items()
        if name not in _NOT_ARGUMENTS and not (name in known and known[name].default == value)
    }
    fields = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return (
        f"from transformers import {config}, {kind}",
        "torch.manual_seed(0)",
        *broken(f"config = {config}({fields})"),
        f"model = {kind}(config)",
        *_sparsified(model),
    )


def _sparsified(model: Any) -> tuple[str, ...]:
    """The lines that sparsify a dense model as one is, or whose body is; its routers are new ones."""
    call = getattr(model.base_model, "sparsify_call", "")
    return ("import sma", *broken(f"model = {call}")) if call else ()


def builder_name(builder: Callable[[], nn.Module]) -> str:
    """What lines of Python call a function that builds a model."""
    name = getattr(builder, "__name__", "")
    return name if name.isidentifier() else "build"


def broken(line: str) -> tuple[str, ...]:
    """A call as lines that are not too long.

    Example:
        >>> broken("f(1, 2)")
        ('f(1, 2)',)
    """
    return tuple(
        wrap(line, LONGEST, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    )
