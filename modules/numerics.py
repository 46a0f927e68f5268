"""The numerical care that every room takes: padding that may hold NaN, and sums in float32 at least."""

import torch
from torch import Tensor


def zero_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x (B, L, D)` with 0 wherever `mask (B, L)` is False.

    Whoever multiplies x with a weight needs this also where the product at padding is dropped: the weight's
    gradient sums over all elements, and 0 * NaN is NaN.
    """
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype to sum and exponentiate in: float64 stays, everything narrower becomes float32."""
    return torch.promote_types(dtype, torch.float32)
