"""The choice between Triton kernels and plain torch for convolutions with modes and for selective scans."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from sma.elements import PackedRows
from sma.modules.functional import transformed
from sma.modules.kernels.choice import takes_kernel
from sma.modules.kernels.derivatives import Kernel, run_kernel
from sma.modules.kernels.recurrence_op import fused_recurrence, fused_recurrence_backward
from sma.modules.kernels.scan_op import fused_scan, fused_scan_backward
from sma.modules.ssm.recurrence import Modes, continue_convolution, convolve, final_state
from sma.modules.ssm.selective_scan import chunk_size, selective_scan
from sma.modules.ssm.tiled_scan import tiled_scan, tiled_scan_backward

_TRANSFORMED = "torch.func and forward-mode differentiation take plain operations only"


def convolve_modes(
    x: Tensor,
    past: Modes,
    future: Modes | None = None,
    *,
    skip: Tensor,
    truncation: int | None = None,
    initial: Tensor | None = None,
    rows: PackedRows | None = None,
) -> Tensor:
    """`convolve` by a kernel where it serves; arguments and result as there."""
    if not takes_kernel("recurrence", x.device, lambda: _refusal(x, past, initial, rows)):
        return convolve(x, past, future, skip=skip, truncation=truncation, initial=initial, rows=rows)
    y = torch.addcmul(_one_way(x, past, truncation, initial, reverse=False), x, skip)
    return y if future is None else y + _one_way(x, future, truncation, None, reverse=True)


def continue_modes(x: Tensor, modes: Modes, *, skip: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
    """`continue_convolution` by a kernel where it serves; arguments and result as there."""
    if not takes_kernel("recurrence", x.device, lambda: _refusal(x, modes, initial)):
        return continue_convolution(x, modes, skip=skip, initial=initial)
    kept = torch.exp(modes.log_decay * x.shape[1]) * initial
    return convolve_modes(x, modes, skip=skip, initial=initial), kept + final_state(x, modes)


def _refusal(x: Tensor, modes: Modes, initial: Tensor | None, rows: PackedRows | None = None) -> str | None:
    if transformed():
        return _TRANSFORMED
    if x.dtype != torch.float32 or modes.gain.dtype not in (torch.float32, torch.complex64):
        return f"it computes in float32, not in {x.dtype} with modes in {modes.gain.dtype}"
    if rows is not None:
        return "it knows no borders between rows"
    if initial is not None and initial.requires_grad:
        return "it has no gradient of the initial state"
    return None


def scan_selectively(
    x: Tensor, log_decay: Tensor, write: Tensor, read: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`selective_scan` by a kernel where it serves; arguments and result as there."""

    def refusal() -> str | None:
        if transformed():
            return _TRANSFORMED
        return None if x.dtype == torch.float32 else f"it computes in float32, not in {x.dtype}"

    tensors = (x, log_decay, write, read, initial)
    if not takes_kernel("scan", x.device, refusal):
        if x.device.type != "cpu" or torch.compiler.is_compiling() or transformed():
            return selective_scan(*tensors)
        size = chunk_size(x.shape[1])
        forward, backward = partial(tiled_scan, size), partial(tiled_scan_backward, size)
        y, last = run_kernel(Kernel(2, forward, backward, selective_scan), *tensors)
        return y, last

    y, last = run_kernel(Kernel(2, fused_scan, _scan_backward, selective_scan), *tensors)
    return y, last


def _scan_backward(
    grads: tuple[Tensor, ...], returned: tuple[Tensor, ...], tensors: tuple[Any, ...]
) -> tuple[Tensor | None, ...]:
    found: tuple[Tensor, ...] = fused_scan_backward(*grads, *returned, *tensors[:4])
    return found


def _one_way(
    x: Tensor, modes: Modes, truncation: int | None, initial: Tensor | None, *, reverse: bool
) -> Tensor:
    settings = (initial, truncation, reverse)

    def forward(x: Tensor, log_decay: Tensor, gain: Tensor) -> tuple[Tensor, ...]:
        return (fused_recurrence(x, log_decay, gain, *settings),)

    def backward(
        grads: tuple[Tensor, ...], returned: tuple[Tensor, ...], tensors: tuple[Any, ...]
    ) -> tuple[Tensor | None, ...]:
        found: tuple[Tensor, ...] = fused_recurrence_backward(grads[0], *tensors, *settings)
        return found

    def plain(x: Tensor, log_decay: Tensor, gain: Tensor) -> tuple[Tensor, ...]:
        x = x.flip(1) if reverse else x
        y = convolve(
            x, Modes(log_decay, gain), skip=x.new_zeros(x.shape[2]), truncation=truncation, initial=initial
        )
        return (y.flip(1) if reverse else y,)

    return run_kernel(Kernel(1, forward, backward, plain), x, modes.log_decay, modes.gain)[0]
