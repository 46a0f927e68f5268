"""MEGA: attention whose queries, keys and gates come from a moving average."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from sma.checks import check_sizes
from sma.elements import Edges
from sma.modules.attention.chunked import ChunkAttention, ChunkAttentionState
from sma.modules.attention.positions import OffsetBias, RelativePosition
from sma.modules.functional import angles, at_least_float32
from sma.modules.norms import NoNorm, Norm
from sma.sequence import SequenceModule, zero_padding
from sma.state import State, check_state


class RotaryBias(RelativePosition):
    r"""The bias that two learned vectors have as rotary query and key: MEGA's alternative to a table.

    $$ b_{s - t} = R_t \alpha \cdot R_s \beta $$

    where $R_p$ turns the pair (i, i + d_qk / 2) by $p \cdot 10000^{-2i / d_{qk}}$. It has 2 d_qk parameters.

    Args:
        d_qk: width of the vectors; even.
        max_positions: offsets from it on share the bias of the last one before.

    Raises:
        ValueError: if `d_qk` is odd, or `max_positions` less than 1.

    Example:
        >>> RotaryBias(4, max_positions=8).bias().values.shape
        torch.Size([15])
    """

    def __init__(self, d_qk: int, *, max_positions: int) -> None:
        super().__init__()
        check_sizes(d_qk=d_qk, max_positions=max_positions)
        if d_qk % 2:
            raise ValueError(f"d_qk={d_qk} must be even and positive: RotaryBias turns pairs; use {d_qk + 1}")
        self.max_positions = max_positions
        self.alpha = nn.Parameter(torch.randn(d_qk) * 0.02)
        self.beta = nn.Parameter(torch.randn(d_qk) * 0.02)

    @override
    def bias(self) -> OffsetBias:
        """Computed in float32 at least, and angles in float64."""
        dtype = at_least_float32(self.alpha.dtype)
        (a, b), (c, d) = (z.to(dtype).chunk(2) for z in (self.alpha, self.beta))
        frequency = 10000.0 ** -(torch.arange(len(a), device=a.device, dtype=torch.float64) / len(a))
        reach = self.max_positions - 1
        angle = angles(torch.arange(-reach, reach + 1, device=a.device), frequency).to(dtype)
        values = angle.cos() @ (a * c + b * d) - angle.sin() @ (a * d - b * c)
        return OffsetBias(values, -reach, by_rank=False)


@dataclass(frozen=True)
class MegaState(State):
    """Decoding state of `MegaAttention`."""

    mixer: State
    attention: ChunkAttentionState


class MegaAttention(SequenceModule[MegaState]):
    r"""MEGA's layer: gated attention over a moving average (https://arxiv.org/abs/2209.10655, Eq. 8 to 17).

    $$ X' = \text{SiLU}(\text{EMA}(\text{norm}(X))), \quad V = \text{SiLU}(\text{norm}(X) W_v + b_v) $$
    $$ Z = \text{SiLU}(X' W_z + b_z), \quad Q = \kappa_q Z + \mu_q, \quad K = \kappa_k Z + \mu_k $$
    $$ \gamma = \text{SiLU}(X' W_\gamma + b_\gamma), \quad \varphi = \sigma(X' W_\varphi + b_\varphi), \quad
       \hat H = \text{SiLU}(X' W_h + (\gamma \odot \text{attention}(Q, K, V)) U_h + b_h) $$
    $$ Y = \varphi \odot \hat H + (1 - \varphi) \odot X $$

    The SiLU after the EMA is that of the published code. With post-norm the norm comes after Y instead.

    Args:
        d_model: D.
        mixer: the moving average, usually `MultiHeadEMA`.
        attention: over whole rows or over chunks; has the width of queries and keys.
        norm: first (pre-norm) or last (post-norm).
        pre_norm: where the norm stands.
        d_hidden: width of values; None: 2 D.
        dropout: on X' and on H.
        hidden_dropout: on the values.

    Attributes:
        gates: D -> [update D, z d_qk, reset d_hidden, h D] of X'.
        scale: `(2, d_qk)`, the kappas of queries and keys.
        shift: `(2, d_qk)`, the mus.

    Example:
        >>> from sma.modules import LayerNorm, MultiHeadEMA
        >>> attention = ChunkAttention(4, chunk=8)
        >>> mega = MegaAttention(16, mixer=MultiHeadEMA(16), attention=attention, norm=LayerNorm(16))
        >>> mega(torch.randn(2, 20, 16)).shape
        torch.Size([2, 20, 16])
    """

    no_weight_decay = ("scale", "shift")

    def __init__(
        self,
        d_model: int,
        *,
        mixer: SequenceModule,
        attention: ChunkAttention,
        norm: Norm,
        pre_norm: bool = True,
        d_hidden: int | None = None,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        d_qk, d_hidden = attention.d_qk, 2 * d_model if d_hidden is None else d_hidden
        self.d_model, self.d_hidden = d_model, d_hidden
        self.pre_norm = norm if pre_norm else NoNorm()
        self.mixer = mixer
        self.attention = attention
        self.post_norm = NoNorm() if pre_norm else norm
        self.value = _linear(d_model, d_hidden)
        self.gates = _linear(d_model, d_model + d_qk + d_hidden + d_model)
        self.output = _linear(d_hidden, d_model)
        self.scale = nn.Parameter(torch.randn(2, d_qk) * 0.02)
        self.shift = nn.Parameter(torch.zeros(2, d_qk))
        self.dropout = nn.Dropout(dropout)
        self.hidden_dropout = nn.Dropout(hidden_dropout)

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None, edges: Edges | None = None) -> Tensor:
        """0 at padding."""
        return self._run(
            x, mask, lambda h: self.mixer(h, mask), lambda q, k, v: self.attention(q, k, v, mask)
        )

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> MegaState:
        """The states of the moving average and of attention.

        Raises:
            NotImplementedError: if a part looks ahead, or attention must remember without bound.
        """
        device, dtype = device or self.scale.device, dtype or self.scale.dtype
        return MegaState(
            self.mixer.init_state(batch_size, device=device, dtype=dtype),
            self.attention.init_state(batch_size, self.d_hidden, device=device, dtype=dtype),
        )

    @override
    def step(self, x: Tensor, state: MegaState, mask: Tensor | None = None) -> Tensor:
        """0 at padding."""
        check_state(state, MegaState, len(x))
        return self._run(
            x,
            mask,
            lambda h: self.mixer.step(h, state.mixer, mask),
            lambda q, k, v: self.attention.step(q, k, v, state.attention, mask),
        )

    @override
    def flops(self, n: int) -> int:
        matrices = self.d_model * (2 * self.d_model + 3 * self.d_hidden + self.attention.d_qk)
        return self.mixer.flops(n) + self.attention.flops(n, self.d_hidden) + 2 * n * matrices

    def _run(
        self,
        x: Tensor,
        mask: Tensor | None,
        mix: Callable[[Tensor], Tensor],
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        x = zero_padding(x, mask)
        h = self.pre_norm.zero_at_padding(x, mask)
        v = self.hidden_dropout(F.silu(self.value(h)))
        update, z, reset, direct = self._gates(self.dropout(F.silu(mix(h))))
        q, k = (z.unsqueeze(-2) * self.scale + self.shift).to(z).unbind(-2)
        h = self.dropout(F.silu(direct + self.output(reset * attend(q, k, v))))
        return zero_padding(self.post_norm(torch.lerp(x, h.to(x), update.to(x)), mask), mask)

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sizes = [self.d_model, self.attention.d_qk, self.d_hidden, self.d_model]
        update, z, reset, direct = self.gates(x).split(sizes, -1)
        return torch.sigmoid(update), F.silu(z), F.silu(reset), direct


def _linear(d_in: int, d_out: int) -> nn.Linear:
    """A linear layer as MEGA's code initialises it: normal weights, std 0.02, and zero bias."""
    layer = nn.Linear(d_in, d_out)
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer
