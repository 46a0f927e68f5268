"""A selective state space model: Mamba-2."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self, override

from sma.checks import check_sizes
from sma.elements import Edges, PackedRows
from sma.modules.functional import at_least_float32, held_in_float32, without_autocast
from sma.modules.norms import RMSNorm
from sma.modules.rows import may_have_holes, n_first, real_first, take, to_places
from sma.modules.ssm.kernel_paths import scan_selectively
from sma.modules.ssm.recurrence import full_precision
from sma.modules.ssm.short_convolution import short_convolution
from sma.sequence import SequenceModule, check_input, check_mask, zero_padding
from sma.state import State, check_state

_MAX_LOG = 80.0  # of a rate; its product with a step of 0 is 0


@dataclass(frozen=True)
class SelectiveState(State):
    """Streaming state of a `SelectiveSSM`.

    Attributes:
        recent: `(B, kernel_size - 1, C)`, the last inputs of the convolution, zero before the first.
        hidden: `(B, H, P, S)`.
    """

    recent: Tensor
    hidden: Tensor


class SelectiveSSM(SequenceModule[SelectiveState]):
    r"""Mamba-2: a state space model whose decays, inputs and outputs depend on the element.

    $$ [z_t, x_t, B_t, C_t, \delta_t] = W_{in} u_t, \quad
       [x, B, C] \leftarrow \mathrm{SiLU}(\mathrm{conv}([x, B, C])), \quad
       \Delta_t = \mathrm{softplus}(\delta_t + b) $$
    $$ h_t = e^{-e^{a} \Delta_t} h_{t-1} + \Delta_t x_t B_t^\top, \quad y_t = h_t C_t + \omega x_t, \qquad
       \text{output}_t = W_{out}\, \mathrm{RMSNorm}(y_t \odot \mathrm{SiLU}(z_t)) $$

    per head, with B and C shared by the heads (https://arxiv.org/abs/2405.21060). The convolution is
    depthwise and causal. Padding does not advance the state and its outputs are zero. The recurrence is
    computed in float32 at least, and all parameters but those of projections and norm are held so, whatever
    dtype the module is moved to.

    Args:
        d_model: D.
        d_state: S, the columns of a head's state.
        d_head: P, the channels of a head; divides `expand * d_model`.
        expand: how many times wider than D the inside is.
        kernel_size: elements that the convolution sees, itself included.

    Raises:
        ValueError: if a size is less than 1, or `d_head` does not divide `expand * d_model`.

    Example:
        >>> ssm = SelectiveSSM(8, d_state=4, d_head=4)
        >>> x = torch.randn(2, 10, 8)
        >>> state = ssm.init_state(2)
        >>> y = torch.cat([ssm.step(x[:, :7], state), ssm.step(x[:, 7:], state)], 1)
        >>> torch.allclose(y, ssm(x), atol=1e-5)
        True
    """

    def __init__(
        self, d_model: int, *, d_state: int = 64, d_head: int = 64, expand: int = 2, kernel_size: int = 4
    ) -> None:
        super().__init__()
        check_sizes(d_model=d_model, d_state=d_state, d_head=d_head, expand=expand, kernel_size=kernel_size)
        self.d_model = d_model
        d_inner = expand * d_model
        if d_inner % d_head:
            raise ValueError(
                f"d_head={d_head} must divide expand * d_model = {d_inner}; {math.gcd(d_head, d_inner)} does"
            )
        n_heads, n_channels = d_inner // d_head, d_inner + 2 * d_state
        self.d_state = d_state
        self.d_head = d_head
        self.widths = [d_inner, n_channels, n_heads]
        self.project_in = nn.Linear(d_model, sum(self.widths), bias=False)
        self.kernel = nn.Parameter(torch.empty(kernel_size, n_channels))
        self.kernel_bias = nn.Parameter(torch.empty(n_channels))
        self.step_bias = nn.Parameter(torch.empty(n_heads))
        self.log_rate = nn.Parameter(torch.empty(n_heads))
        self.omega = nn.Parameter(torch.ones(n_heads))
        self.norm = RMSNorm(d_inner)
        self.project_out = nn.Linear(d_inner, d_model, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new parameters; steps begin between 0.001 and 0.1, rates between 1 and 16."""
        self.project_in.reset_parameters()
        self.project_out.reset_parameters()
        bound = len(self.kernel) ** -0.5
        nn.init.uniform_(self.kernel, -bound, bound)
        nn.init.uniform_(self.kernel_bias, -bound, bound)
        nn.init.uniform_(self.step_bias, math.log(0.001), math.log(0.1)).exp_()
        self.step_bias.expm1_().log_()  # the inverse of softplus
        nn.init.uniform_(self.log_rate, 1, 16).log_()
        nn.init.ones_(self.omega)

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        if rows is not None:
            return rows.in_groups(self.forward, x)
        check_mask(mask, x)
        state = self.init_state(len(x), device=x.device)
        if mask is None or not may_have_holes(mask):
            return self._run(x, mask, state)[0]
        return to_places(self._run(real_first(x, mask), n_first(mask), state)[0], mask)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> SelectiveState:
        """The state before the first element of `batch_size` rows, in float32 at least."""
        device, dtype = device or self.omega.device, at_least_float32(dtype or self.omega.dtype)
        shapes = self._state_shapes()
        return SelectiveState(*(torch.zeros(batch_size, *s, device=device, dtype=dtype) for s in shapes))

    @override
    def step(self, x: Tensor, state: SelectiveState, mask: Tensor | None = None) -> Tensor:
        check_mask(mask, x)
        shapes = self._state_shapes()
        check_state(state, SelectiveState, len(x), recent=shapes[0], hidden=shapes[1])
        count, real = torch.full((len(x),), x.shape[1], device=x.device), None
        if mask is not None:
            x, real, count = real_first(x, mask), n_first(mask), mask.sum(1)
        y, joined, hidden = self._run(x, real, state.clone())
        state.recent.copy_(take(joined.detach(), count, len(self.kernel) - 1))
        state.hidden.copy_(hidden.detach())
        return y if mask is None else to_places(y, mask)

    @override
    def flops(self, n: int) -> int:
        """Of the recurrence, a product and two multiply-adds per state."""
        matrices = self.d_model * (sum(self.widths) + self.widths[0]) + self.kernel.numel()
        return n * (2 * matrices + self.widths[0] * (5 * self.d_state + 2))

    @override
    def extra_repr(self) -> str:
        """The arguments it was built with."""
        d_model, d_state, d_head = self.d_model, self.d_state, self.d_head
        expand, kernel_size = self.widths[0] // d_model, len(self.kernel)
        return f"{d_model}, {d_state=}, {d_head=}, {expand=}, {kernel_size=}"

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        if recurse:
            for part in self.children():
                part._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(held_in_float32(fn), recurse=False)  # type: ignore[no-untyped-call]

    def _state_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        _, n_channels, n_heads = self.widths
        return (len(self.kernel) - 1, n_channels), (n_heads, self.d_head, self.d_state)

    def _run(self, x: Tensor, mask: Tensor | None, state: SelectiveState) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs, the inputs of the convolution with those before them, and the last hidden state."""
        projected = self.project_in(check_input(x, mask, self.d_model))
        with without_autocast(x.device):
            z, channels, delta = torch.split(full_precision(projected), self.widths, -1)
            joined = torch.cat((state.recent.to(channels), channels), 1)
            step = zero_padding(F.softplus(delta + self.step_bias), mask)  # 0: the state stays as it is
            kernel, bias = full_precision(self.kernel), full_precision(self.kernel_bias)
            convolved = short_convolution(joined, kernel, bias)
            widths = [self.widths[0], self.d_state, self.d_state]
            inner, write, read = torch.split(convolved, widths, -1)
            inner = torch.unflatten(inner, -1, (self.widths[2], self.d_head))
            log_decay = -full_precision(self.log_rate).clamp(max=_MAX_LOG).exp() * step
            log_decay = log_decay.clamp(min=_log_of_zero(log_decay.dtype))
            added = inner * step.unsqueeze(-1)
            y, hidden = scan_selectively(added, log_decay, write, read, state.hidden.to(channels))
            y = y + full_precision(self.omega).unsqueeze(-1) * inner
            y = self.norm(y.flatten(-2) * F.silu(z), mask)
        y = self.project_out(y.to(x.dtype)).to(x.dtype)
        return zero_padding(y, mask), joined, hidden


def _log_of_zero(dtype: torch.dtype) -> float:
    """A logarithm whose exponential is 0, as near to 0 as may be: sums of it cost digits."""
    return -750.0 if dtype == torch.float64 else -110.0
