"""Residual blocks, and their specs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from sma import Edges, OneOf, SequenceModule, State, register
from sma.architectures.blocks.packing import packed_rows
from sma.architectures.specs.families import BlockSpec, LayerSpec, NormSpec, build_each
from sma.architectures.specs.fields import Activation, Dropout
from sma.architectures.specs.norms import LayerNormSpec
from sma.checks import check_dtype
from sma.elements import PackedRows
from sma.modules.functional import activation_function, keeps_zero
from sma.modules.norms import NoNorm, Norm
from sma.sequence import call, zero_padding
from sma.state import check_parts, check_state


@dataclass(frozen=True)
class ResidualState(State):
    """Decoding state of a residual block: the mixer's (if there is one), then one per branch."""

    parts: tuple[State, ...]


class Residual(SequenceModule[ResidualState]):
    r"""The block of SeqBoat, and with other parts that of its relatives.

    $$ h = \phi(\text{mixer}(\text{norm}(x))), \qquad y = \phi(x + \textstyle\sum_i \text{branch}_i(h)) $$

    (Sec. 3 of https://arxiv.org/abs/2306.11197 with \(\phi\) = SiLU, an SSM as mixer, and a linear map and a
    routed GAU as branches.) With post-norm the norm comes after the last \(\phi\) instead. Without a mixer
    h = norm(x); with \(\phi\) the identity that is the usual pre-norm residual block.

    Args:
        branches: summed.
        norm: first (pre-norm) or last (post-norm).
        pre_norm: where the norm stands.
        mixer: applied before the branches, or None.
        activation: \(\phi\), element-wise.
        mixer_dropout: on h.
        dropout: on the sum of the branches.

    Example:
        >>> from sma.modules import LayerNorm, MultiHeadEMA
        >>> block = Residual([MultiHeadEMA(8)], norm=LayerNorm(8))
        >>> block(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        branches: Sequence[SequenceModule],
        *,
        norm: Norm,
        pre_norm: bool = True,
        mixer: SequenceModule | None = None,
        activation: Callable[[Tensor], Tensor] = nn.functional.silu,
        mixer_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pre_norm = norm if pre_norm else NoNorm()
        self.mixer = mixer
        self.branches = nn.ModuleList(branches)
        self.post_norm = NoNorm() if pre_norm else norm
        self.activation = activation
        self.keeps_zero = keeps_zero(activation)
        self.mixer_dropout = nn.Dropout(mixer_dropout)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        """0 at padding, for which nothing is computed where that pays; parts that use `edges` get them."""
        found = packed_rows(self, x, mask) if rows is None and edges is None else None
        if found is not None:
            return found.pad(self.forward(found.pack(x), rows=found))
        return self._run(x, mask, lambda part, i, h: call(part, h, mask, edges, rows))

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ResidualState:
        parts = (part.init_state(batch_size, device=device, dtype=dtype) for part in self._parts())
        return ResidualState(tuple(parts))

    @override
    def step(self, x: Tensor, state: ResidualState, mask: Tensor | None = None) -> Tensor:
        parts = check_state(state, ResidualState, len(x)).parts
        check_parts(state, parts, len(self.branches) + (self.mixer is not None))
        return self._run(x, mask, lambda part, i, h: part.step(h, parts[i], mask))

    @override
    def flops(self, n: int) -> int:
        return sum(part.flops(n) for part in self._parts())

    def _parts(self) -> list[SequenceModule]:
        return [*([] if self.mixer is None else [self.mixer]), *self.branches]

    def _run(
        self, x: Tensor, mask: Tensor | None, run: Callable[[SequenceModule, int, Tensor], Tensor]
    ) -> Tensor:
        x = zero_padding(x, mask)
        check_dtype(x, self)
        h = self.pre_norm.zero_at_padding(x, mask)
        parts = self._parts()
        if self.mixer is not None:
            h = self.mixer_dropout(self._activate(run(parts[0], 0, h), mask))
        first = len(parts) - len(self.branches)
        y = reduce(torch.add, [run(part, i, h) for i, part in enumerate(parts[first:], first)])
        return self.post_norm.zero_at_padding(self._activate(self.dropout(y) + x, mask), mask)

    def _activate(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.activation(x)
        return y if self.keeps_zero else zero_padding(y, mask)


@register
class ResidualSpec(BlockSpec):
    """Builds `Residual`.

    Attributes:
        norm: a norm.
        norm_position: before the mixer, or after everything.
        mixer: a layer, usually an SSM.
        branches: layers, summed.
        activation: the element-wise function phi.
        mixer_dropout: on the mixer's result.
        dropout: on the branches' sum.
    """

    kind: Literal["residual"] = "residual"
    norm: OneOf[NormSpec] = LayerNormSpec()
    norm_position: Literal["pre", "post"] = "pre"
    mixer: OneOf[LayerSpec] | None = None
    branches: Annotated[tuple[OneOf[LayerSpec], ...], Field(min_length=1)]
    activation: Activation = "silu"
    mixer_dropout: Dropout = 0.0
    dropout: Dropout = 0.0

    @override
    def build(self, d_model: int) -> Residual:
        return Residual(**self.arguments(d_model))

    def arguments(self, d_model: int) -> dict[str, Any]:
        """The arguments of `Residual`, its parts built."""
        return {
            "branches": build_each(self.branches, d_model),
            "norm": self.norm.build(d_model),
            "pre_norm": self.norm_position == "pre",
            "mixer": None if self.mixer is None else self.mixer.build(d_model),
            "activation": activation_function(self.activation),
            "mixer_dropout": self.mixer_dropout,
            "dropout": self.dropout,
        }
