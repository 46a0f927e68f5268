"""Checks of arguments, whose errors name the argument, what was given and what to give instead."""

import difflib
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

PLAIN = (Tensor, nn.Parameter)
"""Classes of parameters that are the numbers which a module computes with."""


def check_size(name: str, size: int | None, *, least: int = 1, none: str = "") -> None:
    """Raise unless a size is an integer that is large enough.

    Args:
        name: of the argument.
        size: its value.
        least: the smallest value allowed.
        none: what None stands for, where it is allowed.

    Raises:
        TypeError: if it is not an integer; True and False do not count as integers here.
        ValueError: if it is too small.

    Example:
        >>> check_size("window", 0, none="the whole row")
        Traceback (most recent call last):
        ValueError: window=0 must be an integer of at least 1, or None for the whole row
    """
    if size is None and none:
        return
    is_integer = isinstance(size, Integral) and not isinstance(size, bool)
    if not is_integer or size < least:  # type: ignore[operator]
        allowed = f"an integer of at least {least}" + (f", or None for {none}" if none else "")
        raise (ValueError if is_integer else TypeError)(f"{name}={size!r} must be {allowed}")


def check_sizes(**sizes: int) -> None:
    """`check_size` of several, each at least 1."""
    for name, size in sizes.items():
        check_size(name, size)


def check_rates(**rates: float) -> None:
    """Raise ValueError unless every rate is in [0, 1), TypeError if it is not a number."""
    for name, rate in rates.items():
        is_number = isinstance(rate, Real)
        if not is_number or not 0 <= rate < 1:
            raise (ValueError if is_number else TypeError)(f"{name}={rate!r} must be a number in [0, 1)")


def check_features(x: Tensor, n_dims: int, d_model: int | None = None) -> None:
    """Raise ValueError unless x is floating point, of `n_dims` dimensions and `d_model` features (None: any).

    Args:
        x: `(B, L, D)`, or `(T, D)` of elements.
        n_dims: 3 or 2.
        d_model: D.
    """
    if (
        isinstance(x, Tensor)
        and x.dim() == n_dims
        and x.is_floating_point()
        and (d_model is None or x.shape[-1] == d_model)
    ):
        return
    axes, remedy = ("B, L", "; a single sequence needs a batch of one") if n_dims == 3 else ("T", "")
    if isinstance(x, Tensor) and x.dim() == n_dims and x.is_floating_point():
        remedy = f"; build with d_model={x.shape[-1]}, or give it another input"
    else:
        remedy = f"; embed tokens first{remedy}"
    width = "D" if d_model is None else d_model
    raise ValueError(f"x must be ({axes}, {width}) floating point, got {describe(x)}{remedy}")


def check_dtype(x: Tensor, module: nn.Module) -> None:
    """Raise ValueError if no parameter of a module has the precision of its input.

    Those do not count that a module keeps in a precision of its own, by its `_apply`. Left to the module:
    compiled code, autocast, and parameters that are more than tensors, such as sharded or quantised ones.

    Example:
        >>> check_dtype(torch.zeros(2, dtype=torch.float64), nn.Linear(2, 2))
        Traceback (most recent call last):
        ValueError: x is float64, but Linear computes in float32; give it x.to(torch.float32), or ...
    """
    device = x.device.type
    if torch.compiler.is_compiling() or (
        torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    ):
        return
    own: torch.dtype | None = None
    for part in module.modules():  # usually the first parameter ends it
        for parameter in part._parameters.values():
            if parameter is None or type(part)._apply is not nn.Module._apply:
                continue
            if parameter.dtype == x.dtype or type(parameter) not in PLAIN:
                return
            if own is None and parameter.is_floating_point():
                own = parameter.dtype
    if own is None:
        return
    given, wanted = (str(dtype).removeprefix("torch.") for dtype in (x.dtype, own))
    raise ValueError(
        f"x is {given}, but {type(module).__name__} computes in {wanted}; give it x.to(torch.{wanted}), or "
        f"convert the module by to(torch.{given})"
    )


def check_not_mapped(x: Tensor, what: str, *, instead: str = "use SMA with CapacityCompaction, or ") -> None:
    """Raise ValueError if `x` is mapped over by `torch.func.vmap`, where shapes cannot depend on the data."""
    if is_mapped(x):
        raise ValueError(
            f"{what} makes shapes that depend on the data, which torch.func.vmap cannot; {instead}give it "
            "the whole batch without vmap"
        )


def is_mapped(x: Tensor) -> bool:
    """Whether `torch.func.vmap` maps over `x`, whose values then cannot be asked for."""
    if torch.compiler.is_compiling():
        return False
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            return True
        x = functorch.get_unwrapped(x)
    return False


def near(name: str, known: Iterable[str]) -> str:
    """A hint for a name that does not exist: the closest ones that do, or all of them."""
    known = list(known)
    if not known:
        return "; there are none"
    close = difflib.get_close_matches(name, known, 3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are: {', '.join(known)}"


def check_part(part: Any, base: type) -> None:
    """Raise TypeError unless a part of a layer derives from a contract of this package."""
    if not isinstance(part, base):
        wrap = ", or wrap a module that maps (T, D) to (T, D) in sma.Pointwise"
        raise TypeError(
            f"{type(part).__name__} is not a sma.{base.__name__}; derive from it"
            f"{wrap if base.__name__ == 'SubModule' else ''}"
        )


def describe(value: Any) -> str:
    """The shape and dtype of a tensor; the type of anything else."""
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
