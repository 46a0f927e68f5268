"""S4D, the diagonal state space model."""

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_sizes
from sma.modules.functional import at_least_float32
from sma.modules.ssm.chunks import LOG_OF_ZERO
from sma.modules.ssm.diagonal import DiagonalSSM
from sma.modules.ssm.recurrence import Modes, full_precision

_MAX_LOG, _MAX_ANGLE = 80.0, 1e30  # far beyond what decays to 0 in one step, and products stay finite
_TAYLOR = 1e-5  # below it two terms are exact


class S4D(DiagonalSSM):
    r"""A diagonal state space model per channel, S4D-Lin (https://arxiv.org/abs/2206.11893).

    $$ \dot h_n = A_n h_n + x, \quad y = 2\, \mathrm{Re} \sum_{n=1}^{S/2} C_n h_n + \omega x, \qquad
       k_j = 2\, \mathrm{Re} \sum_n C_n \frac{e^{\Delta A_n} - 1}{A_n} e^{j \Delta A_n} $$

    the second after discretisation with a step $\Delta$ that holds the input constant. $A_n$ begins as
    $-\tfrac12 + i \pi n$ for n = 0, 1, ..., and $\Delta$ between `step_min` and `step_max`, one per channel.
    A bidirectional one has a C for the future too.

    Args:
        d_model: D, the number of channels.
        d_state: S, the real size of a channel's state: S / 2 complex modes, each with its conjugate.
        bidirectional: add a kernel that runs over the future.
        step_min: the shortest initial step.
        step_max: the longest initial step.

    Attributes:
        log_step: `(D,)`, the logarithm of $\Delta$.
        log_decay: `(D, S / 2)`, the logarithm of $-\mathrm{Re}\, A$.
        frequency: `(D, S / 2)`, $\mathrm{Im}\, A$.
        read_out: `(n_directions, D, S / 2, 2)`, the real and imaginary part of C.
        omega: `(D,)`.

    Raises:
        ValueError: if `d_state` is odd or less than 2, `d_model` is less than 1, or not
            `0 < step_min <= step_max`.

    Example:
        >>> ssm = S4D(8, d_state=4, bidirectional=True)
        >>> ssm(torch.randn(2, 100, 8)).shape
        torch.Size([2, 100, 8])
    """

    no_weight_decay = ("log_decay", "frequency")

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 64,
        bidirectional: bool = False,
        step_min: float = 0.001,
        step_max: float = 0.1,
    ) -> None:
        super().__init__(d_model, bidirectional=bidirectional)
        check_sizes(d_state=d_state)
        if d_state % 2:
            raise ValueError(
                f"d_state={d_state} must be even: modes come in conjugate pairs; use {d_state + 1}"
            )
        if not 0 < step_min <= step_max:
            raise ValueError(f"steps must satisfy 0 < step_min <= step_max, got {step_min=} and {step_max=}")
        self.step_range = (step_min, step_max)
        self.log_step = nn.Parameter(torch.empty(d_model))
        self.log_decay = nn.Parameter(torch.empty(d_model, d_state // 2))
        self.frequency = nn.Parameter(torch.empty(d_model, d_state // 2))
        self.read_out = nn.Parameter(torch.empty(2 if bidirectional else 1, d_model, d_state // 2, 2))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new parameters."""
        low, high = map(math.log, self.step_range)
        nn.init.uniform_(self.log_step, low, high)
        nn.init.constant_(self.log_decay, math.log(0.5))
        self.frequency.copy_(math.pi * torch.arange(self.frequency.shape[-1]))
        nn.init.normal_(self.read_out, std=0.5**0.5)
        nn.init.normal_(self.omega)

    @override
    def mode_shape(self) -> tuple[tuple[int, ...], torch.dtype]:
        dtype = torch.promote_types(at_least_float32(self.frequency.dtype), torch.complex64)
        return tuple(self.frequency.shape), dtype

    @override
    def modes(self) -> tuple[Modes, ...]:
        log_step, log_decay, frequency, read_out = map(
            full_precision, (self.log_step, self.log_decay, self.frequency, self.read_out)
        )
        step = log_step.clamp(max=_MAX_LOG).exp().unsqueeze(-1)
        rate = torch.complex(-log_decay.clamp(max=_MAX_LOG).exp(), frequency)
        discrete = torch.complex(
            (rate.real * step).clamp(min=LOG_OF_ZERO), (frequency * step).clamp(-_MAX_ANGLE, _MAX_ANGLE)
        )
        gain: Tensor = 2 * torch.view_as_complex(read_out) * _integral(discrete, rate, step)
        return tuple(Modes(discrete, direction) for direction in gain.unbind())

    @override
    def extra_repr(self) -> str:
        """The arguments it was built with."""
        d_state, (step_min, step_max) = 2 * self.frequency.shape[-1], self.step_range
        return f"{self.d_model}, {d_state=}, bidirectional={self.bidirectional}, {step_min=}, {step_max=}"


def _integral(discrete: Tensor, rate: Tensor, step: Tensor) -> Tensor:
    """`expm1(discrete) / rate`, the integral of `exp(rate t)` over one step; also at a rate of 0."""
    small = discrete.abs() < _TAYLOR
    z = torch.where(small, discrete, 0)
    quotient = torch.expm1(discrete) / torch.where(small, 1, rate)
    return torch.where(small, step * (1 + z / 2 * (1 + z / 3)), quotient)
