"""Feed-forward sub-modules: each active element by itself."""

from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_features, check_sizes
from sma.elements import Elements
from sma.modules.functional import activation_function, linear
from sma.sub_module import ElementWise


class FeedForward(ElementWise):
    r"""Two linear maps with an activation between them: $ f(x) = W_2\, \phi(W_1 x + b_1) + b_2 $.

    Args:
        d_model: D.
        d_hidden: width between the maps.
        activation: \(\phi\), a name that `activation_function` knows.
        dropout: on the hidden units.
        bias: whether b_1 and b_2 exist.

    Example:
        >>> import torch
        >>> from sma.modules import LatentConfigurator
        >>> from sma import SMA
        >>> SMA(LatentConfigurator(8), [FeedForward(8, d_hidden=32)])(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_hidden: int,
        activation: str = "gelu",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(d_model=d_model, d_hidden=d_hidden)
        self.d_model, self.d_hidden = d_model, d_hidden
        self.hidden = linear(d_model, d_hidden, bias=bias)
        self.out = linear(d_hidden, d_model, bias=bias)
        self.activation = activation_function(activation)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, elements: Elements) -> Tensor:
        check_features(elements.x, 2, self.d_model)
        return self.out(self.dropout(self.activation(self.hidden(elements.x))))

    @override
    def flops(self, n: int) -> int:
        return 4 * n * self.d_model * self.d_hidden


class GatedFeedForward(ElementWise):
    r"""A feed-forward with a gate: $ f(x) = W_2\, (\phi(W_g x) \odot W_1 x) $, SwiGLU by default.

    https://arxiv.org/abs/2002.05202

    Args:
        d_model: D.
        d_hidden: width of the gate and of what it multiplies.
        activation: \(\phi\), a name that `activation_function` knows.
        dropout: on the hidden units.
        bias: whether the maps have biases.

    Example:
        >>> GatedFeedForward(8, d_hidden=16).flops(10)
        7680
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_hidden: int,
        activation: str = "silu",
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(d_model=d_model, d_hidden=d_hidden)
        self.d_model, self.d_hidden = d_model, d_hidden
        self.gate_and_hidden = linear(d_model, 2 * d_hidden, bias=bias)
        self.out = linear(d_hidden, d_model, bias=bias)
        self.activation = activation_function(activation)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, elements: Elements) -> Tensor:
        check_features(elements.x, 2, self.d_model)
        gate, hidden = self.gate_and_hidden(elements.x).chunk(2, -1)
        return self.out(self.dropout(self.activation(gate) * hidden))

    @override
    def flops(self, n: int) -> int:
        return 6 * n * self.d_model * self.d_hidden
