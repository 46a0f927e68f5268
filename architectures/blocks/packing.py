"""The choice between a padded batch and its rows one after another."""

import torch
from torch import Tensor, nn

from sma.elements import PackedRows
from sma.modules.functional import transformed
from sma.modules.kernels.choice import demands_kernels

_LEAST_SHARE = 0.1  # of padding: less is cheaper than moving elements
_LEAST = 256  # elements of padding


def packed_rows(module: nn.Module, x: Tensor, mask: Tensor | None) -> PackedRows | None:
    """The rows of `x (B, L, D)` without padding, where running a module on them pays; None: it does not.

    On the CPU alone: a device would wait for the number of elements. Modules with hooks get padded batches,
    which is what the hooks expect to see.
    """
    if mask is None or x.device.type != "cpu" or torch.compiler.is_compiling() or transformed():
        return None
    if demands_kernels() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return None
    if mask.dtype != torch.bool or mask.shape != x.shape[:2] or x.dim() != 3:
        return None  # the module says what is wrong with it
    n_real, n = int(mask.sum()), mask.numel()
    if not n_real or n - n_real < max(_LEAST, _LEAST_SHARE * n):
        return None
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        return None
    return PackedRows.of(mask)
