"""The choice between a Triton kernel and plain torch."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from types import MappingProxyType

import torch

_BACKENDS = ("auto", "plain", "triton")
_LEAST_CAPABILITY = (8, 0)  # bfloat16 products and asynchronous copies

_backend = "auto"  # a plain global, so that torch.compile compiles again when it changes
_switched_off = dict.fromkeys(filter(None, os.environ.get("SMA_PLAIN", "").split(",")), "SMA_PLAIN says so")


@contextmanager
def kernel_backend(name: str) -> Iterator[None]:
    """Choose what computes attention, recurrences and scans inside the `with` block.

    All give the same function. `plain` is torch alone, on any device: it serves whatever a kernel does not
    take, and is what every kernel is tested against. `auto`, the default, takes a Triton kernel on a CUDA
    device wherever there is one for the settings. `triton` demands it: an error says why one does not serve.

    Args:
        name: auto, plain or triton.

    Raises:
        ValueError: if no backend has that name; and, inside, with `triton`, wherever a kernel does not apply.

    Example:
        >>> from sma import PackedCompaction
        >>> from sma.modules import windowed_attention
        >>> elements = PackedCompaction().compress(torch.randn(1, 9, 4), torch.ones(1, 9, dtype=torch.bool))
        >>> with kernel_backend("plain"):
        ...     windowed_attention(*3 * [elements.x], elements, window=2).shape
        torch.Size([9, 4])
    """
    if name not in _BACKENDS:
        raise ValueError(f"unknown kernel backend {name!r}; known: {', '.join(_BACKENDS)}")
    global _backend
    outer, _backend = _backend, name
    try:
        yield
    finally:
        _backend = outer


def takes_kernel(kernel: str, device: torch.device, refusal: Callable[[], str | None]) -> bool:
    """Whether a Triton kernel computes this call.

    Args:
        kernel: its name, as `switch_off` knows it.
        device: that of the tensors.
        refusal: says why the kernel does not take these settings; None: it does.

    Raises:
        ValueError: inside `kernel_backend("triton")`, if it does not serve.
    """
    if _backend == "plain" or (_backend == "auto" and device.type != "cuda"):
        return False
    reason = refusal() or why_not_on(device) or _switched_off.get(kernel)
    if reason is None:
        return True
    if _backend == "triton":
        raise ValueError(
            f'kernel_backend("triton") has no kernel for this {kernel}: {reason}; '
            'kernel_backend("auto") computes it by plain torch'
        )
    return False


def demands_kernels() -> bool:
    """Whether this is inside `kernel_backend("triton")`."""
    return _backend == "triton"


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def why_not_on(device: torch.device) -> str | None:
    """Why Triton's kernels cannot run on a device; None: they can."""
    if find_spec("triton") is None:
        return "triton is not installed; pip install 'sparse-modular-activation[gpu]'"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if device.type != "cuda" or torch.version.hip is not None:
        return f"kernels are built for NVIDIA GPUs, and this device is {device.type}"
    return _too_old(device.index)


@cache
def _too_old(index: int | None) -> str | None:
    capability = torch.cuda.get_device_capability(index)
    if capability >= _LEAST_CAPABILITY:
        return None
    return f"the GPU has compute capability {capability}, and kernels need {_LEAST_CAPABILITY}"


def switch_off(kernel: str, reason: str) -> None:
    """Leave a kernel alone in this process, with a warning; plain torch computes instead.

    The environment variable SMA_PLAIN does so from the start, without a warning: SMA_PLAIN=attention,scan.

    Args:
        kernel: attention, recurrence, scan or memory.
        reason: what to say about it.
    """
    _switched_off[kernel] = reason
    warnings.warn(f"the {kernel} kernel is switched off: {reason}", stacklevel=2)


def switched_off() -> Mapping[str, str]:
    """The kernels that are switched off, and why."""
    return MappingProxyType(_switched_off)


def on_device_of(x: torch.Tensor) -> AbstractContextManager[None]:
    """Makes the device of `x` the one that kernels are started on."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
