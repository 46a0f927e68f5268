"""Pieces of rows at places that differ from row to row."""

import torch
from torch import Tensor


def extent(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where each row's contiguous real elements start in `x (B, L, ...)`, `(B,)`, and how many they are."""
    if mask is None:
        start = torch.zeros(x.shape[0], dtype=torch.long, device=x.device)
        return start, start + x.shape[1]
    return mask.int().argmax(1) if mask.shape[1] else mask.sum(1), mask.sum(1)


def take(x: Tensor, start: Tensor, length: int) -> Tensor:
    """`length` elements of each row of `x (B, N, D)` from `start (B,)` on, and zero outside the row."""
    place = start[:, None] + torch.arange(length, device=x.device)
    outside = (place < 0) | (place >= x.shape[1])
    if x.shape[1] == 0:
        return x.new_zeros(x.shape[0], length, x.shape[2])
    place = place.clamp(0, x.shape[1] - 1).unsqueeze(-1).expand(-1, -1, x.shape[2])
    return x.gather(1, place).masked_fill(outside.unsqueeze(-1), 0)
