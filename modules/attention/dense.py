"""Multi-head attention over whole sequences."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from typing_extensions import override

from sma.checks import check_size
from sma.elements import Edges, PackedRows
from sma.modules.attention.multi_head import Heads
from sma.modules.attention.positions import RelativePosition
from sma.modules.attention.windowed import visible_pairs
from sma.modules.functional import first_parameter, transformed
from sma.modules.rows import real_first, to_places
from sma.sequence import SequenceModule, check_input, zero_padding
from sma.state import State, check_state


@dataclass(frozen=True)
class DenseAttentionState(State):
    """All keys and values so far.

    Attributes:
        keys: `(B, max_positions + 1, H, d_head)`, rotated; the last place is for padding.
        values: in the shape of `keys`.
        count: `(B,)` long; the number of elements each row has seen.
    """

    keys: Tensor
    values: Tensor
    count: Tensor


class DenseAttention(SequenceModule[DenseAttentionState]):
    r"""Softmax attention with H heads over whole sequences, quadratic in their length.

    The equation is that of `MultiHeadAttention`, with every real element of the row active.

    Args:
        d_model: width of the elements.
        n_heads: H; divides `d_model`.
        bidirectional: whether an element also sees those after it.
        position: `Rotary(d_model / n_heads)`, the default, or `NoPosition()`.
        dropout: of attention weights.
        max_positions: longest row in step-by-step decoding; None: no decoding.

    Raises:
        ValueError: if a size is not positive, `n_heads` does not divide `d_model`, `dropout` is not in
            [0, 1), or `position` was built for another width or is a bias.

    Example:
        >>> DenseAttention(8, n_heads=2)(torch.randn(2, 6, 8)).shape
        torch.Size([2, 6, 8])
    """

    def __init__(
        self,
        d_model: int,
        *,
        n_heads: int,
        bidirectional: bool = False,
        position: RelativePosition | None = None,
        dropout: float = 0.0,
        max_positions: int | None = None,
    ) -> None:
        super().__init__()
        check_size("max_positions", max_positions, none="no decoding")
        self.heads = Heads(d_model, n_heads, bidirectional, position, dropout)
        if self.heads.position.bias() is not None:
            raise ValueError(
                f"position={type(position).__name__} adds a bias, which would be (L, L) here; use Rotary, or "
                "MultiHeadAttention"
            )
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.max_positions = max_positions

    @property
    def longest_row(self) -> int | None:
        """The most elements that a row may have in decoding."""
        return self.max_positions

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        """0 at padding."""
        if rows is not None:
            return rows.in_groups(self.forward, x)
        x = check_input(x, mask, self.heads.d_model)
        real = torch.ones_like(x[..., 0], dtype=torch.bool) if mask is None else mask
        q, k, v = self._project(x, (real.cumsum(1) - 1).clamp(min=0))
        if mask is None:
            y = self._attend(q, k, v, None)
        elif self.bidirectional:
            y = self._attend(q, k, v, (mask | ~mask.any(1, keepdim=True))[:, None, None])
        else:  # padding behind the real elements is in their future
            q, k, v = (real_first(z, mask) for z in (q, k, v))
            y = to_places(self._attend(q, k, v, None), mask)
        return zero_padding(self.heads.join(y), mask)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> DenseAttentionState:
        """An empty cache for the keys and values of `max_positions` elements.

        Raises:
            NotImplementedError: if later elements count, or without `max_positions`.
        """
        if self.bidirectional or self.max_positions is None:
            raise NotImplementedError(
                f"DenseAttention with max_positions={self.max_positions}, bidirectional={self.bidirectional} "
                "cannot decode step by step; build it with max_positions and bidirectional=False"
            )
        like = first_parameter(self.heads)
        device, dtype = device or like.device, dtype or like.dtype
        shape = (batch_size, self.max_positions + 1, self.heads.n_heads, self.heads.d_head)
        keys, values = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
        return DenseAttentionState(keys, values, torch.zeros(batch_size, dtype=torch.long, device=device))

    @override
    def step(self, x: Tensor, state: DenseAttentionState, mask: Tensor | None = None) -> Tensor:
        """Without dropout.

        Raises:
            ValueError: if a row would exceed `max_positions`.
        """
        shape = ((self.max_positions or 0) + 1, self.heads.n_heads, self.heads.d_head)
        check_state(state, DenseAttentionState, len(x), keys=shape, values=shape)
        x = check_input(x, mask, self.heads.d_model)
        real = torch.ones_like(x[..., 0], dtype=torch.bool) if mask is None else mask
        spare = state.keys.shape[1] - 1
        place = state.count.unsqueeze(1) + real.cumsum(1) - 1
        end = int(torch.cat([place.flatten(), place.new_zeros(1)]).max()) + 1
        if end > spare:
            raise ValueError(f"a row has {end} elements, more than max_positions={spare}; raise it")
        q, k, v = (z.to(state.keys) for z in self._project(x, place))
        rows = torch.arange(len(x), device=x.device).unsqueeze(1)
        at = (rows, torch.where(real, place, spare))
        keys, values = (
            _put(buffer, at, new.masked_fill(~real[..., None, None], 0))
            for buffer, new in ((state.keys, k), (state.values, v))
        )
        state.count.add_(real.sum(1))
        seen = torch.arange(end, device=x.device) <= place.clamp(min=0).unsqueeze(2)
        y = self._attend(q, keys[:, :end], values[:, :end], seen.unsqueeze(1))
        return zero_padding(self.heads.join(y.to(x.dtype)), mask)

    @override
    def flops(self, n: int) -> int:
        """For n elements in one row, and the keys that they see."""
        return self.heads.flops(n, visible_pairs(n, None, bidirectional=self.bidirectional))

    def _project(self, x: Tensor, place: Tensor) -> list[Tensor]:
        """Queries, keys and values (B, L, H, d)."""
        parts = self.heads.split(x.flatten(0, 1), place.flatten())
        return [z.view(*x.shape[:2], *z.shape[1:]) for z in parts]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
        """(B, L, H, d) of all three -> (B, L, H, d)."""
        if not q.numel():
            return q + 0 * v
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        causal = seen is None and not self.bidirectional
        with sdpa_kernel(SDPBackend.MATH) if transformed() else nullcontext():
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout, is_causal=causal)
        if not torch.compiler.is_compiling() and "ScaledDotProduct" in type(y.grad_fn).__name__:
            y.register_hook(_refuse_second_derivatives)  # type: ignore[no-untyped-call]
        return y.transpose(1, 2)


def _refuse_second_derivatives(grad: Tensor) -> None:
    """A hook of a fused kernel's result: gradients are enabled where this one shall have a graph itself."""
    if torch.is_grad_enabled():
        raise ValueError(
            "torch's fused attention has no second derivatives; run DenseAttention's forward pass inside "
            "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), or use torch.func"
        )


def _put(buffer: Tensor, at: tuple[Tensor, Tensor], new: Tensor) -> Tensor:
    """`buffer` with new elements, written in place; to gradients, only the new ones are not constants."""
    if not torch.is_grad_enabled():
        return buffer.index_put_(at, new)
    joined = buffer.index_put(at, new)
    buffer.copy_(joined.detach())
    return joined
