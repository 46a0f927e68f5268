"""Relative positions for attention: rotations of queries and keys, and biases added to their scores."""

import math
from abc import ABC
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_size, check_sizes
from sma.modules.functional import angles, at_least_float32, transformed, truncated_normal

_tables: dict[tuple[int, float, torch.dtype], Tensor] = {}
_MOST_TURNS = 2**17  # positions in a table; 32 MB of them for queries of width 64


@dataclass(frozen=True)
class OffsetBias:
    """A bias that depends on the offset (key - query) alone, as a table over offsets.

    Offsets beyond either end take the entry at that end. Attention gathers from the table for one block of
    queries and keys at a time, so that no (L, L) tensor ever exists.

    Attributes:
        values: `(n,)`; entry i is the bias at the offset `first + i`.
        first: the smallest offset.
        by_rank: whether offsets count activated elements (ranks in the compacted row) or original positions.
    """

    values: Tensor
    first: int
    by_rank: bool

    def index(self, offset: Tensor) -> Tensor:
        """The entries of integer offsets, in their shape."""
        return (offset - self.first).clamp_(0, len(self.values) - 1)

    def __call__(self, offset: Tensor) -> Tensor:
        """The bias at integer offsets, in their shape."""
        return self.values[self.index(offset)]


class RelativePosition(nn.Module, ABC):
    """How attention knows the relative positions of a query and a key.

    A kind overrides one of two hooks, or both: `rotate` changes queries and keys before their product, `bias`
    is added to it. By default neither does anything.

    Attributes:
        d_qk: the width of queries and keys that it takes; None: any.
        bidirectional: the direction that it was built for; None: either.

    Example:
        >>> class Nearest(RelativePosition):
        ...     def bias(self):
        ...         return OffsetBias(-torch.arange(9.0).sub(4).abs(), first=-4, by_rank=True)
        >>> Nearest().bias()(torch.tensor([-100, -1, 0, 2]))
        tensor([-4., -1., -0., -2.])
    """

    d_qk: int | None = None
    bidirectional: bool | None = None

    def rotate(self, z: Tensor, position: Tensor) -> Tensor:
        """Turn queries or keys according to where they are.

        Args:
            z: `(T, d_qk)` or `(T, H, d_qk)`.
            position: `(T,)` long; original positions.

        Returns:
            In the shape and dtype of `z`.
        """
        return z

    def bias(self) -> OffsetBias | None:
        """The bias that is added to the scores; None: none."""
        return None

    def check(self, *, d_qk: int, bidirectional: bool) -> None:
        """Raise ValueError unless this fits attention of that width and direction."""
        if self.d_qk not in (None, d_qk):
            raise ValueError(
                f"{type(self).__name__} was built for d_qk={self.d_qk}, but the attention has d_qk={d_qk}; "
                "make them equal"
            )
        if self.bidirectional not in (None, bidirectional):
            raise ValueError(
                f"{type(self).__name__} was built with bidirectional={self.bidirectional}, but the attention "
                f"has bidirectional={bidirectional}; make them equal"
            )


class NoPosition(RelativePosition):
    """No positions: attention is a function of the set of keys.

    Example:
        >>> NoPosition().bias() is None
        True
    """


class Rotary(RelativePosition):
    r"""Rotary positions: pairs of features turned by an angle proportional to the original position.

    The pair (2i, 2i + 1) at position p turns by $p \cdot \text{base}^{-2i / d_{qk}}$, so that a score depends
    on positions only through their difference (https://arxiv.org/abs/2104.09864).

    Args:
        d_qk: width of queries and keys; even.
        base: the wavelengths reach up to 2 pi times this.

    Raises:
        ValueError: if `d_qk` is odd or not positive, or `base` is not above 1.

    Example:
        >>> Rotary(4).rotate(torch.ones(3, 4), torch.tensor([0, 7, 100])).shape
        torch.Size([3, 4])
    """

    def __init__(self, d_qk: int, *, base: float = 10000.0) -> None:
        super().__init__()
        check_sizes(d_qk=d_qk)
        if d_qk % 2:
            raise ValueError(
                f"d_qk={d_qk} must be even and positive: Rotary turns pairs; use {d_qk + 1}, or "
                "position=NoPosition()"
            )
        if base <= 1:
            raise ValueError(f"base={base} must be above 1; 10000 is usual")
        self.d_qk = d_qk
        self.base = base

    @override
    def rotate(self, z: Tensor, position: Tensor) -> Tensor:
        """Computed in float32 at least, and angles in float64."""
        dtype = at_least_float32(z.dtype)
        turn = _turns(position, z.shape[-1] // 2, self.base, dtype)
        pairs = torch.view_as_complex(z.to(dtype).reshape(*z.shape[:-1], z.shape[-1] // 2, 2))
        turned = pairs * (turn if z.dim() == 2 else turn.unsqueeze(1))
        return torch.view_as_real(turned).flatten(-2).to(z.dtype)

    @override
    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.d_qk}, base={self.base}"


def _turns(position: Tensor, n_pairs: int, base: float, dtype: torch.dtype) -> Tensor:
    """What `Rotary` multiplies the pairs at `position (T,)` by, `(T, n_pairs)` complex.

    On the CPU, from a table of the first positions: it depends on no weight, and serves all layers and steps.
    """
    plain = type(position) is Tensor and position.device.type == "cpu"
    if not plain or torch.compiler.is_compiling() or transformed():
        return _computed_turns(position, n_pairs, base, dtype)
    table = _tables.get((n_pairs, base, dtype))
    if table is not None:
        with suppress(IndexError):  # it ends before; to look at the positions first takes longer
            return table.index_select(0, position)
    least, most = map(int, position.aminmax()) if len(position) else (0, 0)
    if least < 0 or most >= _MOST_TURNS:
        return _computed_turns(position, n_pairs, base, dtype)
    with torch.inference_mode(False), torch.no_grad():
        places = torch.arange(max(1024, 2 ** most.bit_length()))
        table = _tables[n_pairs, base, dtype] = _computed_turns(places, n_pairs, base, dtype)
    return table.index_select(0, position)


def _computed_turns(position: Tensor, n_pairs: int, base: float, dtype: torch.dtype) -> Tensor:
    frequency = torch.logspace(0, 1 / n_pairs - 1, n_pairs, base, device=position.device, dtype=torch.float64)
    angle = angles(position, frequency).to(dtype)
    return torch.polar(torch.ones_like(angle), angle)


def fitting_position(
    position: RelativePosition | None, *, d_qk: int, bidirectional: bool
) -> RelativePosition:
    """The position that attention was given, or by default `Rotary(d_qk)`.

    Raises:
        ValueError: if it was built for another width or direction, or `d_qk` is odd by default.
    """
    position = Rotary(d_qk) if position is None else position
    position.check(d_qk=d_qk, bidirectional=bidirectional)
    return position


class LearnedBias(RelativePosition):
    """A learned bias for every offset of original positions.

    Args:
        max_positions: offsets from `-(max_positions - 1)` to `max_positions - 1` have entries of their own;
            those beyond share the entry at the end.

    Raises:
        ValueError: if `max_positions` is less than 1.

    Example:
        >>> LearnedBias(1024).weight.shape
        torch.Size([2047])
    """

    def __init__(self, max_positions: int) -> None:
        super().__init__()
        check_sizes(max_positions=max_positions)
        self.max_positions = max_positions
        self.weight = truncated_normal(2 * max_positions - 1)

    @override
    def bias(self) -> OffsetBias:
        return OffsetBias(self.weight, 1 - self.max_positions, by_rank=False)


class RankBias(RelativePosition):
    """A learned bias for every offset of ranks among the activated elements ("local" when published).

    Args:
        window: W of the attention; there are entries for offsets from -W to W, or to 0 in one direction.
        bidirectional: whether keys may come after the query.

    Raises:
        ValueError: if `window` is less than 1.

    Example:
        >>> RankBias(128, bidirectional=True).weight.shape
        torch.Size([257])
    """

    def __init__(self, window: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        check_sizes(window=window)
        self.window = window
        self.bidirectional = bidirectional
        self.weight = truncated_normal(2 * window + 1 if bidirectional else window + 1)

    @override
    def bias(self) -> OffsetBias:
        return OffsetBias(self.weight, -self.window, by_rank=True)


class T5Bias(RelativePosition):
    """A learned bias for every bucket of offsets of original positions, buckets growing with distance.

    Half of the buckets of a direction hold one distance each, the others grow exponentially up to
    `max_distance`; the last one holds everything beyond (https://arxiv.org/abs/1910.10683). In both
    directions, each has half of the buckets.

    Args:
        n_buckets: number of buckets.
        max_distance: distance from which on everything shares a bucket.
        bidirectional: whether keys may come after the query.

    Raises:
        ValueError: if `n_buckets` leaves a direction less than 2 buckets, or does not divide between two, or
            if `max_distance` is not above the distances that have their own bucket.

    Example:
        >>> T5Bias().weight.shape
        torch.Size([32])
    """

    def __init__(self, *, n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = False) -> None:
        super().__init__()
        check_size("n_buckets", n_buckets, least=4 if bidirectional else 2)
        if bidirectional and n_buckets % 2:
            raise ValueError(f"n_buckets={n_buckets} must be even to serve both directions")
        per_direction = n_buckets // 2 if bidirectional else n_buckets
        check_size("max_distance", max_distance, least=per_direction // 2 + 1)
        self.n_buckets = n_buckets
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        self.weight = truncated_normal(n_buckets)

    @override
    def bias(self) -> OffsetBias:
        reach = self.max_distance
        offset = torch.arange(-reach, reach + 1, device=self.weight.device)
        return OffsetBias(self.weight[self.bucket(offset)], -reach, by_rank=False)

    def bucket(self, offset: Tensor) -> Tensor:
        """The bucket of every offset (key - query), in the shape of `offset`."""
        n_buckets = self.n_buckets // 2 if self.bidirectional else self.n_buckets
        distance = offset.abs() if self.bidirectional else (-offset).clamp(min=0)
        n_single = n_buckets // 2
        growth = (distance.clamp(min=1).float() / n_single).log() / math.log(self.max_distance / n_single)
        grown = n_single + (growth * (n_buckets - n_single)).long()
        bucket = torch.where(distance < n_single, distance, grown.clamp(max=n_buckets - 1))
        return bucket + n_buckets * (offset > 0) if self.bidirectional else bucket
