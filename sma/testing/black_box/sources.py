"""The lines of Python that build a model, for programs that show a violation."""

import ast
import json
import re
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from textwrap import wrap
from typing import Any

from torch import nn

from sma.testing.black_box.callers.choosing import is_pretrained
from sma.testing.black_box.importing import importable
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
        found = importable(builder)
        return None if found is None else (f"from {found[0]} import {found[1]}", f"model = {found[1]}()")
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
        for name, value in json.loads(model.config.to_json_string()).items()  # as of the dense model
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


def with_builder(source: Sequence[str] | None) -> tuple[tuple[str, ...] | None, str]:
    """Lines that set `model`, and the name of the function without arguments by which they do so.

    Example:
        >>> with_builder(("from a import b", "model = b()"))
        (('from a import b', 'model = b()'), 'b')
        >>> with_builder(("from a import B", "model = B(3)"))[0]
        ('from a import B', 'def build():', '    model = B(3)', '    return model', 'model = build()')
    """
    if source is None:
        return None, "build"
    if called := re.fullmatch(r"model = (\w+)\(\)", source[-1]):
        return tuple(source), called[1]
    imports = [line for line in source if line.startswith(("import ", "from "))]
    body = [f"    {line}" for line in source if line not in imports]
    return (*imports, "def build():", *body, "    return model", "model = build()"), "build"


def broken(line: str) -> tuple[str, ...]:
    """A call as lines that are not too long; as one line if a text in it would be broken.

    Example:
        >>> broken("f(1, 2)")
        ('f(1, 2)',)
    """
    lines = wrap(line, LONGEST, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    try:
        ast.parse("\n".join(lines))
    except SyntaxError:
        return (line,)
    return tuple(lines)
