"""The gated attention unit, over the activated elements."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from sma.checks import check_features, check_rates, check_size, check_sizes
from sma.elements import Elements
from sma.modules.attention.functions import AttentionFunction, AttentionRule, attention_function
from sma.modules.attention.memory import WorkingMemory, check_memory
from sma.modules.attention.positions import RelativePosition, fitting_position
from sma.modules.attention.windowed import attend_windows, visible_pairs
from sma.modules.functional import linear, truncated_normal
from sma.sub_module import SubModule


class GAU(SubModule[WorkingMemory]):
    r"""Gated attention unit: attention with one shared projection, whose result is gated element-wise.

    $$ z, r, v = \mathrm{split}(\mathrm{SiLU}(W_1 x + b_1)), \quad
       q = z \odot \gamma_0 + \beta_0, \quad k = z \odot \gamma_1 + \beta_1 $$
    $$ y = W_2 (\mathrm{attention}(q, k)\, v \odot r) + b_2 $$

    (https://arxiv.org/abs/2202.10447; as the sub-module of SeqBoat in https://arxiv.org/abs/2306.11197.)
    Attention is limited to a window of W activated elements, the working memory; see `windowed_attention`.

    Args:
        d_model: width of the elements.
        d_qk: width of z, of queries and of keys.
        d_hidden: width of values and gates; `2 * d_model` by default.
        window: W, how many activated neighbours an element sees on one side; None: all of its row, in time
            quadratic in their number, and without step-by-step decoding.
        bidirectional: whether an element also sees those after it.
        attention: softmax, relu2 or laplace, or an `AttentionFunction`.
        position: relative positions; None: `Rotary(d_qk)`.
        activation: in place of SiLU.
        dropout: of attention weights.
        hidden_dropout: of values.
        output_dropout: of the result.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive, a dropout not in [0, 1), `attention` unknown, or `position`
            built for another width or direction.

    Example:
        >>> from sma import PackedCompaction
        >>> elements = PackedCompaction().compress(torch.randn(2, 6, 8), torch.rand(2, 6) < 0.5)
        >>> GAU(8, d_qk=4, window=2)(elements).shape == elements.x.shape
        True
    """

    no_weight_decay = ("gamma", "beta")

    def __init__(
        self,
        d_model: int,
        *,
        d_qk: int = 64,
        d_hidden: int | None = None,
        window: int | None = 128,
        bidirectional: bool = False,
        attention: str | AttentionFunction = "softmax",
        position: RelativePosition | None = None,
        activation: Callable[[Tensor], Tensor] = F.silu,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(d_model=d_model, d_qk=d_qk)
        check_size("d_hidden", d_hidden, none="2 * d_model")
        check_size("window", window, none="attention to the whole row")
        check_rates(dropout=dropout, hidden_dropout=hidden_dropout, output_dropout=output_dropout)
        d_hidden = 2 * d_model if d_hidden is None else d_hidden
        self.position = fitting_position(position, d_qk=d_qk, bidirectional=bidirectional)
        self.attention = attention_function(attention)
        self.activation = activation
        self.d_model, self.d_qk, self.d_hidden = d_model, d_qk, d_hidden
        self.window = window
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.hidden_dropout = hidden_dropout
        self.output_dropout = output_dropout
        self.input = linear(d_model, d_qk + 2 * d_hidden)
        self.gamma = truncated_normal(2, d_qk)
        self.beta = nn.Parameter(torch.zeros(2, d_qk))
        self.output = linear(d_hidden, d_model)

    @override
    def forward(self, elements: Elements) -> Tensor:
        q, k, v, gate = self._project(elements)
        v = F.dropout(v, self.hidden_dropout, self.training)
        y = attend_windows(q, k, v, elements, self._rule(), self.position.bias())
        return F.dropout(self.output(y * gate), self.output_dropout, self.training)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> WorkingMemory:
        shapes = (self.d_qk,), (self.d_hidden,)
        return WorkingMemory.empty(self, batch_size, *shapes, device=device, dtype=dtype)

    @override
    def step(self, elements: Elements, state: WorkingMemory) -> Tensor:
        """Without dropout of attention weights, values and results."""
        memory = check_memory(state, elements, self.window, (self.d_qk,), (self.d_hidden,))
        if elements.nothing_to_compute:
            return elements.x
        q, k, v, gate = self._project(elements)
        y = memory.attend(q, k, v, elements, self._rule(), self.position.bias())
        return self.output(y * gate)

    @override
    def flops(self, n: int) -> int:
        """For n elements in one row, and the keys that they see."""
        pairs = visible_pairs(n, self.window, bidirectional=self.bidirectional)
        per_element = self.d_model * (self.d_qk + 3 * self.d_hidden)
        return 2 * (n * per_element + pairs * (self.d_qk + self.d_hidden))

    def _rule(self) -> AttentionRule:
        dropout = self.dropout if self.training else 0.0
        return AttentionRule(self.window, self.bidirectional, self.attention, dropout)

    def _project(self, elements: Elements) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys, values and gates."""
        check_features(elements.x, 2, self.d_model)
        mixed = self.activation(self.input(elements.x))
        z, gate, v = torch.split(mixed, [self.d_qk, self.d_hidden, self.d_hidden], dim=1)
        both = torch.addcmul(self.beta, z.unsqueeze(1), self.gamma)
        both = self.position.rotate(both, elements.position)
        q, k = both.unbind(1)
        return q, k, v, gate
