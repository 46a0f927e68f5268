"""Capacities: how many of a row's elements are kept, counted exactly and from the past alone."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import torch
from torch import Tensor

Count = TypeVar("Count", int, Tensor)

_LARGEST_DENOMINATOR = 10**9


@dataclass(frozen=True)
class Share:
    """A share of a number of elements as a fraction: 0.07 of 100 is 7, and not a little more.

    Attributes:
        numerator: 0 only where the share is 0.
        denominator: at least 1.

    Example:
        >>> Share.of(0.07).round_up(100), Share.of(0.1 + 0.2).round_up(10), Share.of(2 / 3).round_up(9)
        (7, 3, 6)
    """

    numerator: int
    denominator: int

    @classmethod
    def of(cls, share: float, *, parts: int = 1) -> "Share":
        """The simplest fraction that is written as `share`, divided by `parts`; 1 if that is more than 1.

        Args:
            share: at least 0; at least 1e-9 if it is not 0.
            parts: such as experts, of which each gets an equal part of the share.
        """
        fraction = Fraction(min(share, parts)).limit_denominator(_LARGEST_DENOMINATOR)
        if share > 0:
            fraction = max(fraction, Fraction(1, _LARGEST_DENOMINATOR))
        return cls(fraction.numerator, fraction.denominator * parts)

    def round_up(self, count: Count) -> Count:
        """This share of `count` elements (a long tensor or an int), rounded up to whole elements."""
        return -(-count * self.numerator // self.denominator)


def within(active: Tensor, allowed: Tensor | int, taken: Tensor) -> Tensor:
    r"""The part of `active` that is kept if no more than `allowed` may be kept up to any element.

    $$ K_t = \min(K_{t-1} + a_t,\; \text{allowed}_t) $$

    counts what is kept up to t. Because `allowed` never falls, that is
    \( K_t = A_t + \min(K_0, \min_{s \le t} (\text{allowed}_s - A_s)) \) with the running count A of a.

    Args:
        active: `(B, L, M)` bool.
        allowed: long, `(B, L, M)` or what broadcasts to it; does not fall along L.
        taken: `(B, M)` long, K_0: what was kept before the first of these elements.

    Returns:
        `(B, L, M)` bool.

    Example:
        >>> active = torch.ones(1, 6, 1, dtype=torch.bool)
        >>> allowed, taken = torch.tensor([1, 1, 2, 2, 3, 3]), torch.zeros(1, 1, dtype=torch.long)
        >>> within(active, allowed[:, None], taken).flatten().tolist()
        [True, False, True, False, True, False]
    """
    counted = active.cumsum(1)
    kept = counted + torch.minimum((allowed - counted).cummin(1).values, taken[:, None])
    return kept.diff(dim=1, prepend=taken[:, None]) > 0
