"""Element-wise activation functions by name."""

import difflib
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def activation_function(name: str) -> Callable[[Tensor], Tensor]:
    """The element-wise function that a name stands for.

    Args:
        name: gelu, identity, relu, relu2 (the square of relu), sigmoid, silu or tanh.

    Raises:
        ValueError: if no function has that name.

    Example:
        >>> import torch
        >>> activation_function("relu2")(torch.tensor([-2.0, 3.0]))
        tensor([0., 9.])
    """
    if name not in _FUNCTIONS:
        near = difflib.get_close_matches(str(name), _FUNCTIONS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown activation {name!r}; {hint}known: {', '.join(_FUNCTIONS)}")
    return _FUNCTIONS[name]


def _identity(x: Tensor) -> Tensor:
    return x


def _relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "identity": _identity,
    "relu": F.relu,
    "relu2": _relu2,
    "sigmoid": F.sigmoid,
    "silu": F.silu,
    "tanh": F.tanh,
}
