"""Multi-head attention over activated elements, in windows."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_features, check_rates, check_size, check_sizes
from sma.elements import Elements
from sma.modules.attention.functions import AttentionRule
from sma.modules.attention.memory import WorkingMemory, check_memory
from sma.modules.attention.positions import RelativePosition, fitting_position
from sma.modules.attention.windowed import attend_windows, visible_pairs
from sma.modules.functional import linear
from sma.sub_module import SubModule


class MultiHeadAttention(SubModule[WorkingMemory]):
    r"""Softmax attention with H heads over the activated elements.

    $$ y = W_2\, \mathrm{concat}_h(\mathrm{softmax}(q_h k_h^T / \sqrt{d_h} + b)\, v_h) + b_2,
       \quad q, k, v = W_1 x + b_1 $$

    (https://arxiv.org/abs/1706.03762; routed element by element as in https://arxiv.org/abs/2404.02258.)

    Args:
        d_model: width of the elements.
        n_heads: H; divides `d_model`.
        window: W, how many activated neighbours an element sees on one side; None: all of its row, without
            step-by-step decoding.
        bidirectional: whether an element also sees those after it.
        position: relative positions, the same for all heads, of width `d_model / n_heads`; None:
            `Rotary(d_model / n_heads)`.
        dropout: of attention weights.

    Raises:
        ValueError: if a size is not positive, `n_heads` does not divide `d_model`, `dropout` is not in
            [0, 1), or `position` was built for another width or direction.

    Example:
        >>> from sma import PackedCompaction
        >>> elements = PackedCompaction().compress(torch.randn(2, 6, 8), torch.rand(2, 6) < 0.5)
        >>> MultiHeadAttention(8, n_heads=2, window=3)(elements).shape == elements.x.shape
        True
    """

    def __init__(
        self,
        d_model: int,
        *,
        n_heads: int,
        window: int | None = None,
        bidirectional: bool = False,
        position: RelativePosition | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_size("window", window, none="attention to the whole row")
        self.heads = Heads(d_model, n_heads, bidirectional, position, dropout)
        self.window = window
        self.bidirectional = bidirectional
        self.dropout = dropout

    @override
    def forward(self, elements: Elements) -> Tensor:
        q, k, v = self.heads.split(elements.x, elements.position)
        return self.heads.join(attend_windows(q, k, v, elements, self._rule(), self.heads.position.bias()))

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> WorkingMemory:
        shape = (self.heads.n_heads, self.heads.d_head)
        return WorkingMemory.empty(self, batch_size, shape, shape, device=device, dtype=dtype)

    @override
    def step(self, elements: Elements, state: WorkingMemory) -> Tensor:
        """Without dropout."""
        shape = (self.heads.n_heads, self.heads.d_head)
        memory = check_memory(state, elements, self.window, shape, shape)
        if elements.nothing_to_compute:
            return elements.x
        q, k, v = self.heads.split(elements.x, elements.position)
        return self.heads.join(memory.attend(q, k, v, elements, self._rule(), self.heads.position.bias()))

    @override
    def flops(self, n: int) -> int:
        """For n elements in one row, and the keys that they see."""
        return self.heads.flops(n, visible_pairs(n, self.window, bidirectional=self.bidirectional))

    def _rule(self) -> AttentionRule:
        dropout = self.dropout if self.training else 0.0
        return AttentionRule(self.window, self.bidirectional, dropout=dropout)


class Heads(nn.Module):
    """The projections to and from H heads.

    Raises:
        ValueError: if `n_heads` does not divide D, or a size, rate or position does not fit.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        bidirectional: bool,
        position: RelativePosition | None,
        dropout: float,
    ) -> None:
        super().__init__()
        check_sizes(d_model=d_model, n_heads=n_heads)
        check_rates(dropout=dropout)
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} must divide d_model={d_model}")
        self.d_model, self.n_heads, self.d_head = d_model, n_heads, d_model // n_heads
        self.position = fitting_position(position, d_qk=self.d_head, bidirectional=bidirectional)
        self.input = linear(d_model, 3 * d_model)
        self.output = linear(d_model, d_model)

    def split(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(T, D) -> queries, keys and values (T, H, d)."""
        check_features(x, 2, self.d_model)
        q, k, v = self.input(x).view(len(x), 3, self.n_heads, self.d_head).unbind(1)
        return self.position.rotate(q, position), self.position.rotate(k, position), v

    def join(self, y: Tensor) -> Tensor:
        """(..., H, d) -> (..., D)."""
        return self.output(y.flatten(-2))

    def flops(self, n: int, pairs: int) -> int:
        """Of n elements, among them so many pairs of a query and a key."""
        return 2 * self.d_model * (4 * n * self.d_model + 2 * pairs)
