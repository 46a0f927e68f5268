"""The arguments that a module's `forward` takes, those included that it only passes on."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

BY_FUNCTION = ", or give a function (model, x, mask) by call=, or --call"
"""The remedy where a mask is not named."""
_STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


@dataclass(frozen=True)
class Arguments:
    """What a `forward` takes.

    Attributes:
        shown: the signature of `forward`, its names alone.
        names: of the arguments, in order; also those of the functions that it passes other keywords on to.
        any_keyword: whether the last of these takes any keyword.
        unknown: whether it does, and is not transformers' own, so that it may take what no signature names.
    """

    shown: str
    names: tuple[str, ...]
    any_keyword: bool
    unknown: bool

    def lacking(self, name: str, otherwise: str, *, remedy: str) -> str:
        """Why something is not tried that needs an argument which is not among `names`.

        Args:
            name: of the argument.
            otherwise: what is said where it is certain that there is no such argument.
            remedy: beside naming the argument; may be empty.
        """
        return f"its {self.shown} does not name {name}; name it{remedy}" if self.unknown else otherwise


def arguments_of(model: nn.Module) -> Arguments:
    """The arguments of a module's `forward`.

    Where it takes any keyword, those count as well that it overrides or wraps: the functions `forward` in its
    closure, and then those of the base classes, up to the first that names all its keywords.

    Example:
        >>> class Half(nn.TransformerEncoderLayer):
        ...     def forward(self, src, **kw):
        ...         return super().forward(src, **kw) / 2
        >>> arguments_of(Half(4, 1)).shown, arguments_of(Half(4, 1)).names
        ('forward(src, **kw)', ('src', 'src_mask', 'src_key_padding_mask', 'is_causal'))
    """
    names: dict[str, None] = {}
    any_keyword, last = False, model.forward
    for last in _forwards(model):
        parameters = inspect.signature(last).parameters.values()
        names.update(dict.fromkeys(one.name for one in parameters if one.kind not in _STARS))
        any_keyword = any(one.kind is one.VAR_KEYWORD for one in parameters)
        if not any_keyword:
            break
    theirs = getattr(last, "__module__", "").startswith("transformers.")
    return Arguments(_shown(model.forward), tuple(names), any_keyword, any_keyword and not theirs)


def _forwards(model: nn.Module) -> Iterator[Callable[..., Any]]:
    """A module's `forward`, and those that it may pass its keywords on to, the nearest first."""
    yield model.forward
    yield from _wrapped(model.forward, model)
    classes = [base for base in type(model).__mro__ if base is not nn.Module and "forward" in vars(base)]
    if "forward" not in vars(model):
        classes = classes[1:]
    for base in classes:
        forward = vars(base)["forward"].__get__(model, type(model))
        yield forward
        yield from _wrapped(forward, model)


def _wrapped(function: Callable[..., Any], model: nn.Module) -> Iterator[Callable[..., Any]]:
    """The functions `forward` that a decorator's function holds, bound to the model."""
    for cell in getattr(getattr(function, "__func__", function), "__closure__", None) or ():
        try:
            held = cell.cell_contents
        except ValueError:  # it is empty
            continue
        if getattr(held, "__name__", "") == "forward":
            bound = held.__get__(model, type(model)) if inspect.isfunction(held) else held
            yield bound
            yield from _wrapped(bound, model)


def _shown(forward: Callable[..., Any]) -> str:
    """A signature without annotations and defaults."""
    parameters = inspect.signature(forward).parameters.values()
    return f"forward({', '.join(_STARS.get(one.kind, '') + one.name for one in parameters)})"
