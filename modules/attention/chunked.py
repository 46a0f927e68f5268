"""Attention of every element to its whole row, or to its chunk of the row, with scores as dense matrices."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_size, check_sizes
from sma.modules.attention.functions import AttentionFunction, attention_function
from sma.modules.attention.positions import RelativePosition, fitting_position
from sma.modules.attention.windowed import visible_pairs
from sma.modules.functional import at_least_float32, in_chunks, take_elements, without_autocast
from sma.modules.rows import n_first, real_first, to_places
from sma.sequence import check_input
from sma.state import State, check_state


@dataclass(frozen=True)
class ChunkAttentionState(State):
    """Decoding state of `ChunkAttention`, with C places for the elements of the running chunk.

    Attributes:
        key: `(B, C, d_qk)`; an element's place is its position modulo C.
        value: `(B, C, d_hidden)`.
        count: `(B,)` long; the number of elements each row has seen.
    """

    key: Tensor
    value: Tensor
    count: Tensor


class ChunkAttention(nn.Module):
    r"""MEGA's attention with one head (Eq. 13 of https://arxiv.org/abs/2209.10655).

    $$ O = f\!\left(\frac{Q K^T}{\tau} + b\right) V $$

    f is softmax with $\tau = \sqrt{d_{qk}}$, or relu2 or laplace with $\tau$ the number of keys that the
    query sees. With `chunk` an element sees those of its own chunk only: chunks are cut at multiples of
    `chunk` real elements, and cost is linear in L. Without, time and memory are quadratic in L.

    Args:
        d_qk: width of queries and keys.
        chunk: elements per chunk; None: the whole row is one.
        max_positions: without `chunk`, the most elements that step-by-step decoding can remember.
        bidirectional: whether later elements are keys, too.
        attention: softmax, relu2 or laplace, or an `AttentionFunction`.
        position: how scores know relative positions; None: `Rotary(d_qk)`.
        dropout: on the attention weights.

    Raises:
        ValueError: if `chunk` or `max_positions` is less than 1, or `position` does not fit.

    Example:
        >>> attention = ChunkAttention(4, chunk=8)
        >>> attention(torch.randn(2, 20, 4), torch.randn(2, 20, 4), torch.randn(2, 20, 16)).shape
        torch.Size([2, 20, 16])
    """

    def __init__(
        self,
        d_qk: int,
        *,
        chunk: int | None = None,
        max_positions: int | None = None,
        bidirectional: bool = False,
        attention: str | AttentionFunction = "softmax",
        position: RelativePosition | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(d_qk=d_qk)
        check_size("chunk", chunk, none="the whole row")
        check_size("max_positions", max_positions, none="no decoding")
        self.d_qk = d_qk
        self.chunk = chunk
        self.max_positions = max_positions
        self.bidirectional = bidirectional
        self.function = attention_function(attention)
        self.position = fitting_position(position, d_qk=d_qk, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)

    @property
    def causal(self) -> bool:
        """Whether no result depends on a later element."""
        return not self.bidirectional

    @override
    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            q: `(B, L, d_qk)`.
            k: `(B, L, d_qk)`.
            v: `(B, L, d_hidden)`.
            mask: `(B, L)` bool, True = a real element. None: all are real.

        Returns:
            `(B, L, d_hidden)`; 0 at padding.
        """
        length = q.shape[1]
        size = max(length if self.chunk is None else min(self.chunk, length), 1)
        real = torch.ones(q.shape[:2], dtype=torch.bool, device=q.device) if mask is None else mask
        if mask is not None:  # real elements first, in order: chunks count them alone
            q, k, v = (real_first(check_input(z, mask), mask) for z in (q, k, v))
            real = n_first(mask)
        q, k, v = (in_chunks(z, size) for z in (q, k, v))
        place = torch.arange(size, device=q.device)
        seen = in_chunks(real, size).unsqueeze(2)
        if not self.bidirectional:
            seen = seen & (place <= place[:, None])
        y = self._attend(self._rotate(q, place), self._rotate(k, place), v, self._toeplitz(size), seen)
        y = y.flatten(1, 2)[:, :length]
        return y if mask is None else to_places(y, mask)

    @property
    def longest_row(self) -> int | None:
        """The most elements that a row may have in decoding; None: any number."""
        return self.max_positions if self.chunk is None else None

    def init_state(
        self,
        batch_size: int,
        d_hidden: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> ChunkAttentionState:
        """The decoding state of `batch_size` rows before their first element.

        Raises:
            NotImplementedError: if bidirectional, or without a bound on what must be remembered.
        """
        if self.bidirectional:
            raise NotImplementedError(
                "bidirectional ChunkAttention looks at later elements, so it cannot decode; build it "
                "with bidirectional=False"
            )
        if (places := self.chunk or self.max_positions) is None:
            raise NotImplementedError(
                "ChunkAttention over whole rows remembers every element, and a decoding state has a constant "
                "size; give chunk, or max_positions for the longest row to decode"
            )
        return ChunkAttentionState(
            torch.zeros(batch_size, places, self.d_qk, device=device, dtype=dtype),
            torch.zeros(batch_size, places, d_hidden, device=device, dtype=dtype),
            torch.zeros(batch_size, device=device, dtype=torch.long),
        )

    def step(
        self, q: Tensor, k: Tensor, v: Tensor, state: ChunkAttentionState, mask: Tensor | None = None
    ) -> Tensor:
        """Attend from the next L elements of every row, advancing `state` in place.

        Arguments and result as in `forward`.

        Raises:
            ValueError: without `chunk`, if a row becomes longer than `max_positions`.
        """
        real = torch.ones(q.shape[:2], dtype=torch.bool, device=q.device) if mask is None else mask
        places = self.chunk or self.max_positions or 0
        check_state(state, ChunkAttentionState, len(q), key=(places, self.d_qk), value=(places, v.shape[-1]))
        if self.chunk is None and (state.count + real.sum(1) > places).any():
            raise ValueError(f"a row becomes longer than max_positions={places}; build with a larger one")
        if mask is not None:
            q, k, v = (real_first(check_input(z, mask), mask) for z in (q, k, v))
            real = n_first(mask)
        pieces = (slice(start, start + places) for start in range(0, q.shape[1], places))
        parts = (self._step(q[:, at], k[:, at], v[:, at], real[:, at], state) for at in pieces)
        y = torch.cat([v[:, :0], *parts], 1)
        return y if mask is None else to_places(y, mask)

    def flops(self, n: int, d_hidden: int) -> int:
        """Operations for `n` elements of one row and the keys that they see, two per multiply-add."""
        whole, rest = divmod(n, self.chunk) if self.chunk is not None else (0, n)
        sizes = [self.chunk or 0] * whole + [rest]
        pairs = sum(visible_pairs(size, None, bidirectional=self.bidirectional) for size in sizes)
        return 2 * pairs * (self.d_qk + d_hidden)

    def _step(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor, state: ChunkAttentionState) -> Tensor:
        """The same for at most as many elements as the state has places, real ones first."""
        places = state.key.shape[1]
        position = state.count[:, None] + real.cumsum(1) - 1
        place = torch.arange(places, device=q.device)
        kept = place < state.count[:, None] % places
        start = state.count - state.count % places
        key_position = torch.cat((start[:, None] + place, position), 1)
        offset = key_position[:, None] - position[:, :, None]
        same_chunk = key_position[:, None] // places == position[:, :, None] // places
        seen = torch.cat((kept, real), 1).unsqueeze(1) & same_chunk & (offset <= 0)
        q, k = (self._rotate(z, position % places) for z in (q, k))
        keys, values = torch.cat((state.key.to(k), k), 1), torch.cat((state.value.to(v), v), 1)
        bias = self.position.bias()
        y = self._attend(q, keys, values, None if bias is None else bias(offset), seen)

        arrival = (place - state.count[:, None]) % places  # which of the new elements takes a place
        replaced = arrival < real.sum(1, keepdim=True)
        source = arrival.clamp(max=real.shape[1] - 1)
        for old, new in ((state.key, k), (state.value, v)):
            old.copy_(torch.where(replaced.unsqueeze(-1), take_elements(new.detach(), source).to(old), old))
        state.count.add_(real.sum(1))
        return y

    def _rotate(self, z: Tensor, place: Tensor) -> Tensor:
        return self.position.rotate(z.flatten(0, -2), place.expand(z.shape[:-1]).flatten()).view(z.shape)

    def _toeplitz(self, size: int) -> Tensor | None:
        """The bias between `size` elements and themselves, `(size, size)`: one value per diagonal."""
        bias = self.position.bias()
        if bias is None:
            return None
        return bias(torch.arange(1 - size, size, device=bias.values.device)).unfold(0, size, 1).flip(0)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, seen: Tensor) -> Tensor:
        """Queries `(..., Q, d)`, keys `(..., K, d)`; `bias` and `seen` up to broadcasting `(..., Q, K)`.

        In float32 at least: weights that are divided by the number of keys are 0 in half precision.
        """
        result = v.dtype
        dtype = at_least_float32(torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype))
        with without_autocast(q.device):
            q, k, v = (z.to(dtype) for z in (q, k, v))
            n_keys = seen.sum(-1, keepdim=True).clamp(min=1)
            q = q * (q.shape[-1] ** -0.5) if self.function.normalized else q / n_keys
            scores = q @ k.transpose(-1, -2)
            if bias is not None:
                scores = scores + bias.to(scores)
            scores = scores.masked_fill(~seen, -1e30)  # finite, for queries that see nothing
            weights = self.function.weights(scores)
            return (self.dropout(weights) @ v).to(result)
