"""The convolution of Mamba-2: depthwise, causal, over a few elements, and a SiLU."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sma.modules.functional import transformed
from sma.modules.kernels.derivatives import Kernel, run_kernel

_TILE = 512  # elements that are computed together: their channels fit a core's cache


def short_convolution(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    r"""$y_t = \mathrm{SiLU}(\text{bias} + \sum_k \text{kernel}_k x_{t+k})$, for every channel.

    Args:
        x: `(B, L + K - 1, C)`, K - 1 elements before the first result's own.
        kernel: `(K, C)`.
        bias: `(C,)`.

    Returns:
        `(B, L, C)`.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or transformed():
        return F.silu(_convolved(x, kernel, bias))
    (y,) = run_kernel(
        Kernel(1, _forward, _backward, lambda *tensors: (F.silu(_convolved(*tensors)),)), x, kernel, bias
    )
    return y


def _convolved(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    length = x.shape[1] - len(kernel) + 1
    y = bias.expand(len(x), length, -1)
    for k, tap in enumerate(kernel):
        y = torch.addcmul(y, x[:, k : k + length], tap)
    return y


def _forward(x: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    y = x.new_empty(len(x), x.shape[1] - len(kernel) + 1, x.shape[2])
    for rows, time in _tiles(y):
        y[rows, time] = F.silu(_convolved(_seen(x, rows, time, kernel), kernel, bias))
    return (y,)


def _backward(
    grads: tuple[Tensor, ...], returned: tuple[Tensor, ...], tensors: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    (grad,), (x, kernel, bias) = grads, tensors
    grad_x, grad_kernel, grad_bias = (torch.zeros_like(z) for z in tensors)
    for rows, time in _tiles(grad):
        seen, into = (_seen(z, rows, time, kernel) for z in (x, grad_x))
        before = torch.ops.aten.silu_backward(grad[rows, time], _convolved(seen, kernel, bias))
        grad_bias += before.sum((0, 1))
        length = before.shape[1]
        for k, tap in enumerate(kernel):
            into[:, k : k + length].addcmul_(before, tap)
            grad_kernel[k] += (before * seen[:, k : k + length]).sum((0, 1))
    return grad_x, grad_kernel, grad_bias


def _tiles(y: Tensor) -> list[tuple[slice, slice]]:
    """Rows and times: stretches of long rows, several short rows."""
    n_rows, length, _ = y.shape
    step = max(1, _TILE // max(length, 1))
    return [
        (slice(b, b + step), slice(t, min(t + _TILE, length)))
        for b in range(0, n_rows, step)
        for t in range(0, length, _TILE)
    ]


def _seen(x: Tensor, rows: slice, time: slice, kernel: Tensor) -> Tensor:
    """What the results at these places see."""
    return x[rows, time.start : time.stop + len(kernel) - 1]
