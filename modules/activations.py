"""Element-wise activation functions by name."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from sma.checks import near


def activation_function(name: str) -> Callable[[Tensor], Tensor]:
    """The element-wise function that a name stands for.

    Args:
        name: gelu, gelu_tanh (its older approximation), identity, relu, relu2 (the square of relu), sigmoid,
            silu or tanh.

    Raises:
        ValueError: if no function has that name.

    Example:
        >>> import torch
        >>> activation_function("relu2")(torch.tensor([-2.0, 3.0]))
        tensor([0., 9.])
    """
    if name not in _FUNCTIONS:
        raise ValueError(f"unknown activation {name!r}{near(str(name), _FUNCTIONS)}")
    return _FUNCTIONS[name]


class ActivationFunction(nn.Module):
    """An activation function as a module.

    Args:
        name: as `activation_function` takes it.

    Example:
        >>> import torch
        >>> ActivationFunction("relu")(torch.tensor([-1.0, 1.0]))
        tensor([0., 1.])
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.function = activation_function(name)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return self.function(x)

    @override
    def extra_repr(self) -> str:
        """The name."""
        return self.name


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _identity(x: Tensor) -> Tensor:
    return x


def _relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "identity": _identity,
    "relu": F.relu,
    "relu2": _relu2,
    "sigmoid": F.sigmoid,
    "silu": F.silu,
    "tanh": F.tanh,
}
