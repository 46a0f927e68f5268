"""Rows with padding at any place: moving real elements to the front, and back."""

import torch
from torch import Tensor

from sma.modules.functional import take_elements


def may_have_holes(mask: Tensor) -> bool:
    """Whether padding may stand between real elements of a row.

    A device is not asked, for it would wait, and neither is compiled code: there the answer is yes.
    """
    if mask.device.type != "cpu" or torch.compiler.is_compiling():
        return True
    return bool((mask[:, 1:] & ~mask[:, :-1] & mask.cumsum(1)[:, :-1].bool()).any())


def real_first(x: Tensor, mask: Tensor) -> Tensor:
    """`x (B, L, ...)` with each row's real elements first, in their order, and zeros behind them."""
    order = (~mask).int().argsort(dim=1, stable=True)
    return _zeroed(take_elements(x, order), n_first(mask))


def n_first(mask: Tensor) -> Tensor:
    """The mask of what `real_first` gives."""
    return torch.arange(mask.shape[1], device=mask.device) < mask.sum(1, keepdim=True)


def to_places(x: Tensor, mask: Tensor) -> Tensor:
    """The inverse of `real_first`; zeros at padding."""
    return _zeroed(take_elements(x, (mask.cumsum(1) - 1).clamp(min=0)), mask)


def take(x: Tensor, start: Tensor, length: int) -> Tensor:
    """`length` elements of each row of `x (B, N, D)` from `start (B,)` on, and zero outside the row."""
    place = start[:, None] + torch.arange(length, device=x.device)
    outside = (place < 0) | (place >= x.shape[1])
    if x.shape[1] == 0:
        return x.new_zeros(x.shape[0], length, x.shape[2])
    return take_elements(x, place.clamp(0, x.shape[1] - 1)).masked_fill(outside.unsqueeze(-1), 0)


def _zeroed(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(~mask.view(*mask.shape, *[1] * (x.dim() - 2)), 0)
