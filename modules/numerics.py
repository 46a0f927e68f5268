"""The numerical care that every room takes: padding that may hold NaN, and sums in float32 at least."""

import torch

from sma.sequence import zero_padding

__all__ = ["at_least_float32", "zero_padding"]


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype to sum and exponentiate in: float64 stays, everything narrower becomes float32."""
    return dtype if dtype == torch.float32 else torch.promote_types(dtype, torch.float32)
