"""MEGA's multi-head exponential moving average."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from sma.checks import check_sizes
from sma.modules.functional import at_least_float32
from sma.modules.ssm.diagonal import DiagonalSSM
from sma.modules.ssm.recurrence import Modes, full_precision


class MultiHeadEMA(DiagonalSSM):
    r"""S damped moving averages per channel, read out with learned gains (MEGA, https://arxiv.org/abs/2209.10655).

    $$ p = \sigma(\delta), \quad q = 1 - p\, \sigma(\alpha), \qquad
       h_t = q\, h_{t-1} + p\, \beta\, x_t, \quad
       y_t = \tfrac{1}{\sqrt S} \sum_{n=1}^{S} \gamma_n h_{t,n} + \omega\, x_t $$

    for every channel: a convolution with the kernel $k_j = \sum_n \gamma_n p_n \beta_n q_n^j / \sqrt S$.

    Args:
        d_model: D, the number of channels.
        d_state: S, the moving averages of a channel.
        bidirectional: add moving averages that run backwards, with parameters of their own.
        truncation: T, the number of taps that the kernel is cut to; None: unlimited.

    Attributes:
        delta, alpha, beta, gamma: `(n_directions, D, S)`; n_directions is 2 if bidirectional, else 1.
        omega: `(D,)`.

    Raises:
        ValueError: if `d_model`, `d_state` or `truncation` is less than 1.

    Example:
        >>> ema = MultiHeadEMA(8, d_state=4)
        >>> x = torch.randn(2, 10, 8)
        >>> state = ema.init_state(2)
        >>> y = torch.cat([ema.step(x[:, :7], state), ema.step(x[:, 7:], state)], 1)
        >>> torch.allclose(y, ema(x), atol=1e-5)
        True
    """

    no_weight_decay = ("delta", "alpha")

    def __init__(
        self, d_model: int, *, d_state: int = 16, bidirectional: bool = False, truncation: int | None = None
    ) -> None:
        super().__init__(d_model, bidirectional=bidirectional, truncation=truncation)
        check_sizes(d_state=d_state)
        shape = (2 if bidirectional else 1, d_model, d_state)
        self.delta = nn.Parameter(torch.empty(shape))
        self.alpha = nn.Parameter(torch.empty(shape))
        self.beta = nn.Parameter(torch.empty(shape))
        self.gamma = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new parameters: normals cut at two deviations; beta alternates around +1 and -1."""
        for parameter, std in (
            (self.delta, 0.2),
            (self.alpha, 0.2),
            (self.beta, 0.02),
            (self.gamma, 1),
            (self.omega, 1),
        ):
            nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
        self.beta[..., ::2] += 1
        self.beta[..., 1::2] -= 1

    @override
    def mode_shape(self) -> tuple[tuple[int, ...], torch.dtype]:
        return tuple(self.delta.shape[1:]), at_least_float32(self.delta.dtype)

    @override
    def modes(self) -> tuple[Modes, ...]:
        delta, alpha, beta, gamma = map(full_precision, (self.delta, self.alpha, self.beta, self.gamma))
        gain = torch.sigmoid(delta) * beta * gamma * delta.shape[-1] ** -0.5
        return tuple(Modes(*direction) for direction in zip(_log_decay(delta, alpha), gain, strict=True))

    @override
    def extra_repr(self) -> str:
        """The arguments it was built with."""
        d_state = self.delta.shape[-1]
        return f"{self.d_model}, {d_state=}, bidirectional={self.bidirectional}, truncation={self.truncation}"


def _log_decay(delta: Tensor, alpha: Tensor) -> Tensor:
    """log(1 - p a) of p = sigmoid(delta) and a = sigmoid(alpha), accurate and finite wherever it is.

    Where p a is near 1, 1 - p a = (1 - p) + p (1 - a) is summed in logarithms.
    """
    product = torch.sigmoid(delta) * torch.sigmoid(alpha)
    near_zero = torch.logaddexp(F.logsigmoid(-delta), F.logsigmoid(delta) + F.logsigmoid(-alpha))
    return torch.where(product > 0.5, near_zero, torch.log1p(-product.clamp(max=0.5)))
