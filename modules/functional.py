"""Functions that all modules share: activations by name, initialisation, and dtypes to compute in."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call
from torch.nn import functional as F
from typing_extensions import override

from sma.checks import near


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype to sum and exponentiate in: float64 stays, everything narrower becomes float32."""
    return dtype if dtype == torch.float32 else torch.promote_types(dtype, torch.float32)


def held_in_float32(convert: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function for `nn.Module._apply`, changed so that no dtype narrower than float32 results.

    For tensors whose rounding adds up, such as decays and running averages: `model.to(torch.bfloat16)` moves
    them and leaves them in float32.
    """

    def apply(x: Tensor) -> Tensor:
        converted = convert(x)
        if not (converted.is_floating_point() or converted.is_complex()):
            return converted
        dtype = at_least_float32(converted.dtype)
        return converted if converted.dtype == dtype else x.to(converted.device, dtype)

    return apply


def take_elements(x: Tensor, index: Tensor) -> Tensor:
    """Elements `index (B, N)` of each row of `x (B, L, ...)`: `(B, N, ...)`."""
    index = index.view(*index.shape, *[1] * (x.dim() - 2)).expand(*index.shape, *x.shape[2:])
    return x.gather(1, index)


def in_chunks(x: Tensor, size: int) -> Tensor:
    """`(B, L, ...)` -> `(B, G, size, ...)`, with zeros behind the last element; G is at least 1."""
    n_chunks = max(1, -(-x.shape[1] // size))
    missing = n_chunks * size - x.shape[1]
    if missing:
        x = F.pad(x, (0, 0) * (x.dim() - 2) + (0, missing))
    return torch.unflatten(x, 1, (n_chunks, size))


def angles(position: Tensor, frequency: Tensor) -> Tensor:
    r"""`position * frequency` modulo \(2 \pi\): float32 has no digits left for a far angle.

    Args:
        position: integers or floats, of any shape.
        frequency: `(n,)` float64, radians per position.

    Returns:
        `(..., n)` float64, within \(\pm\pi\).

    Example:
        >>> angles(torch.tensor([2**24]), torch.ones(1, dtype=torch.float64)).sin()
        tensor([[-0.7796]], dtype=torch.float64)
    """
    turns = position.double().unsqueeze(-1) * (frequency / (2 * math.pi))
    return (turns - turns.round()) * (2 * math.pi)


def truncated_normal(*shape: int, mean: float = 0.0, std: float = 0.02) -> nn.Parameter:
    """A parameter drawn from a normal distribution that is cut at two standard deviations."""
    return nn.Parameter(truncated_normal_(torch.empty(shape), mean=mean, std=std))


def truncated_normal_(tensor: Tensor, *, mean: float = 0.0, std: float = 0.02) -> Tensor:
    """Fill a tensor in place; the bounds are `mean - 2 std` and `mean + 2 std`."""
    return nn.init.trunc_normal_(tensor, mean, std, mean - 2 * std, mean + 2 * std)


def linear(d_in: int, d_out: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer with truncated normal weights, std 0.02, and zero bias."""
    layer = nn.Linear(d_in, d_out, bias=bias)
    truncated_normal_(layer.weight.data)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)` in float32 at least, also under autocast, and where the layer's weights are narrower.

    The layer is called, with its parameters and buffers cast, and no weight is read: so whatever wraps,
    hooks, prunes, parametrizes or quantises the layer takes part.

    Args:
        layer: such as `nn.Linear`, or what took its place.
        x: floating point.

    Returns:
        The layer's result; float64 if `x` or a parameter is.

    Example:
        >>> layer = nn.Linear(2, 1).bfloat16()
        >>> in_float32(layer, torch.ones(3, 2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    tensors = {name: tensor for name, tensor in _tensors(layer) if tensor.is_floating_point()}
    dtype = at_least_float32(x.dtype)
    for tensor in tensors.values():
        dtype = dtype if tensor.dtype == dtype else torch.promote_types(dtype, tensor.dtype)
    cast = {name: tensor.to(dtype) for name, tensor in tensors.items() if tensor.dtype != dtype}
    with without_autocast(x.device):
        if not cast:
            return layer(x.to(dtype))
        y: Tensor = functional_call(layer, cast, (x.to(dtype),))
    for name, buffer in layer.named_buffers():  # one that the call changed keeps the change
        if name in cast:
            buffer.copy_(cast[name])
    return y


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A module's parameters and buffers; torch's own way takes longer than a small layer."""
    if module._modules:
        return chain(module.named_parameters(), module.named_buffers())
    own = chain(module._parameters.items(), module._buffers.items())
    return ((name, tensor) for name, tensor in own if tensor is not None)


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Turns autocast off on a device inside the `with` block, at no cost where it is off already."""
    on = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if on else nullcontext()


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of every rank's `x` in the default process group, with gradient; `x` where there is no group.

    Backward sums over ranks as well. So a loss that every rank computes from such sums has, once
    data-parallel training has averaged the ranks' gradients, the gradient that one process has on all data.
    Every rank must call this equally often.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return x
    total: Tensor = _SumOverRanks.apply(x)  # type: ignore[no-untyped-call]
    return total


class _SumOverRanks(torch.autograd.Function):
    """The sum of the ranks' tensors; of the ranks' gradients in backward."""

    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOverRanks.apply(gradient)  # type: ignore[no-untyped-call]


def transformed() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work: they take plain operations only."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0


def first_parameter(module: nn.Module) -> Tensor:
    """A parameter, whose device and dtype a state takes that is given neither; float32 without parameters."""
    return next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))


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


def keeps_zero(function: Callable[[Tensor], Tensor]) -> bool:
    """Whether an activation function is known to be 0 at 0: all named ones are but sigmoid."""
    return function is not F.sigmoid and any(function is known for known in _FUNCTIONS.values())


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
