"""Routers without parameters, with confidence 1: baselines, and dense layers."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from sma.routing import Router, Routing, mask_padding
from sma.sequence import check_input
from sma.state import State, check_state

_MASK = 0xFFFFFFFF


class AlwaysActive(Router):
    """Every real element activates every module.

    Args:
        n_modules: M.

    Example:
        >>> AlwaysActive(2)(torch.zeros(1, 3, 8)).active.sum()
        tensor(6)
    """

    element_wise = True

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        check_input(x, mask)
        return _certain(x.new_ones(*x.shape[:2], self.n_modules, dtype=torch.bool), x, mask)


class NeverActive(Router):
    """No element activates any module.

    Args:
        n_modules: M.

    Example:
        >>> NeverActive(2)(torch.zeros(1, 3, 8)).active.sum()
        tensor(0)
    """

    element_wise = True
    max_rate = 0.0

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        check_input(x, mask)
        return _certain(x.new_zeros(*x.shape[:2], self.n_modules, dtype=torch.bool), x, mask)


@dataclass(frozen=True)
class RandomRouterState(State):
    """The decoding state of `RandomRouter`.

    Attributes:
        position: `(B,)` long; elements that each row has seen.
    """

    position: Tensor


class RandomRouter(Router[RandomRouterState]):
    """Activates at random with a fixed rate, whatever the input: the baseline for a learned router.

    The decision is a hash of the seed, the element's place among its row's real elements, and the module. So
    it is the same in every row, every run, every batch and in decoding.

    Args:
        n_modules: M.
        rate: the expected share of active elements, in [0, 1].
        seed: a non-negative int below 2**64; another seed makes other decisions.

    Raises:
        ValueError: if `rate` or `seed` is out of range.

    Example:
        >>> active = RandomRouter(1, rate=0.3)(torch.zeros(1, 10_000, 8)).active
        >>> round(active.float().mean().item(), 2)
        0.3
    """

    def __init__(self, n_modules: int, *, rate: float, seed: int = 0) -> None:
        super().__init__(n_modules)
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is a share of the elements and must be in [0, 1], got {rate}")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must be in [0, 2**64), got {seed}")
        self.rate = rate
        self.seed = seed

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        check_input(x, mask)
        return self._decide(x, mask, _real(x, mask).cumsum(1))

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> RandomRouterState:
        return RandomRouterState(torch.zeros(batch_size, dtype=torch.long, device=device))

    @override
    def step(self, x: Tensor, state: RandomRouterState, mask: Tensor | None = None) -> Routing:
        check_input(x, mask)
        check_state(state, RandomRouterState, len(x))
        real = _real(x, mask)
        place = state.position[:, None] + real.cumsum(1)
        state.position.add_(real.sum(1))
        return self._decide(x, mask, place)

    def _decide(self, x: Tensor, mask: Tensor | None, place: Tensor) -> Routing:
        return _certain(self._draw(place) < round(self.rate * 2**32), x, mask)

    def _draw(self, place: Tensor) -> Tensor:
        """`(B, L, M)` numbers in [0, 2**32)."""
        key = _hash32(torch.full((), self.seed & _MASK, device=place.device))
        key = _hash32(key ^ (self.seed >> 32))
        keys = _hash32(key ^ torch.arange(self.n_modules, device=place.device))
        return _hash32(_hash32(place & _MASK).unsqueeze(-1) ^ keys)


def _real(x: Tensor, mask: Tensor | None) -> Tensor:
    return torch.ones_like(x[..., 0], dtype=torch.bool) if mask is None else mask


def _certain(active: Tensor, x: Tensor, mask: Tensor | None) -> Routing:
    return Routing(mask_padding(active, mask), torch.ones_like(active, dtype=x.dtype))


def _hash32(x: Tensor) -> Tensor:
    """A bijection of the numbers below 2**32 that leaves nothing of their order.

    The 32-bit hash "lowbias32" of https://nullprogram.com/blog/2018/07/31/, moved so that 0 does not stay 0.
    int64 products wrap, which the lower 32 bits do not notice.
    """
    x = (x + 0x9E3779B9) & _MASK
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)
