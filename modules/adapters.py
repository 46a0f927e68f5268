"""A sub-module as a layer, and a layer as a sub-module."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from sma.checks import check_part
from sma.compaction import PackedCompaction
from sma.elements import Edges, Elements, PackedRows
from sma.sequence import SequenceModule, arguments, zero_padding
from sma.state import State, check_state
from sma.sub_module import SubModule, check_result


@dataclass(frozen=True)
class DenseState(State):
    """Decoding state of `Dense`.

    Attributes:
        position: `(B,)` long; the number of elements each row has seen.
        module: the sub-module's state.
    """

    position: Tensor
    module: State


class Dense(SequenceModule[DenseState]):
    r"""A sub-module on all real elements of every row: a layer that decides nothing, and records nothing.

    Equal to `SMA(AlwaysActive(1), [module])` without a router; where there is no mask, or the sub-module is
    `element_wise`, also without gathering elements and without waiting for the device.

    Args:
        module: the sub-module.

    Raises:
        TypeError: if it is not a `SubModule`.

    Example:
        >>> from sma.modules import MultiHeadAttention
        >>> Dense(MultiHeadAttention(16, n_heads=2, window=4))(torch.randn(2, 10, 16)).shape
        torch.Size([2, 10, 16])
    """

    def __init__(self, module: SubModule) -> None:
        super().__init__()
        check_part(module, SubModule)
        self.module = module

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        """`(B, L, D) -> (B, L, D)`; exactly 0 at padding. `edges` as for `SMA.forward`."""
        x = zero_padding(x, mask)
        elements = _elements(x, self._matters(mask), torch.zeros(len(x), dtype=torch.long, device=x.device))
        elements = elements.with_edges(edges, x.shape[0] * x.shape[1])
        if rows is not None:
            elements = rows.assign(elements)
        return self._extract(self.module(elements), elements, x, mask)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> DenseState:
        position = torch.zeros(batch_size, dtype=torch.long, device=device)
        return DenseState(position, self.module.init_state(batch_size, device=device, dtype=dtype))

    @override
    def step(self, x: Tensor, state: DenseState, mask: Tensor | None = None) -> Tensor:
        x = zero_padding(x, mask)
        check_state(state, DenseState, len(x))
        elements = _elements(x, self._matters(mask), state.position)
        y = self.module.step(elements, state.module)
        state.position.add_(x.shape[1] if mask is None else mask.sum(1))
        return self._extract(y, elements, x, mask)

    @override
    def flops(self, n: int) -> int:
        return self.module.flops(n)

    def _matters(self, mask: Tensor | None) -> Tensor | None:
        """The mask, or None if padding, which is 0, may be computed like any element."""
        return None if self.module.element_wise else mask

    def _extract(self, y: Tensor, elements: Elements, x: Tensor, mask: Tensor | None) -> Tensor:
        check_result(y, elements, self.module, "module")
        if self._matters(mask) is None:
            return zero_padding(y.view(x.shape).to(x), mask)
        return PackedCompaction().extract(y, elements, x.shape).to(x)


class SequenceSubModule(SubModule):
    r"""Runs a `SequenceModule` on each row's active elements, as if they were a sequence of their own.

    With a transformer block behind an `ExpertChoiceRouter` this is Mixture-of-Depths
    (https://arxiv.org/abs/2404.02258); with an SMA layer it is nested routing. The module sees ranks, not
    original positions, and runs on a `(B, longest, D)` batch.

    Args:
        module: the map; must keep D.
        change_only: return `module(x) - x`: what a residual block adds to its input.

    Example:
        >>> from sma.modules import MultiHeadEMA
        >>> SequenceSubModule(MultiHeadEMA(8)).causal
        True
    """

    def __init__(self, module: SequenceModule, *, change_only: bool = False) -> None:
        super().__init__()
        self.module = module
        self.change_only = change_only

    @override
    def forward(self, elements: Elements) -> Tensor:
        x, filled, place = elements.to_padded()
        edges = None if elements.edges is None else elements.edges.relabel(place)
        y = self.module(*arguments(self.module, x, _first(filled, x), edges))
        return self._change(elements, y, place)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.module.init_state(batch_size, device=device, dtype=dtype)

    @override
    def step(self, elements: Elements, state: State) -> Tensor:
        """Only the rows with an element here are computed."""
        active = (elements.ptr.diff() > 0).nonzero().squeeze(1)
        x, filled, place = elements.to_padded(rows=active)
        part = state.select(active)
        y = self.module.step(x, part, _first(filled, x))
        state.insert(active, part)
        return self._change(elements, y, place)

    @override
    def flops(self, n: int) -> int:
        return self.module.flops(n)

    def _change(self, elements: Elements, rows: Tensor, place: Tensor) -> Tensor:
        y = elements.from_padded(rows, place)
        return y - elements.x if self.change_only else y


def _first(filled: Tensor, x: Tensor) -> Tensor:
    """The mask of each row's first `filled (B,)` places in `x (B, L, D)`."""
    return torch.arange(x.shape[1], device=x.device) < filled[:, None]


def _elements(x: Tensor, mask: Tensor | None, seen: Tensor) -> Elements:
    """All real elements, at positions that go on from `seen (B,)`."""
    if mask is not None:
        packed = PackedCompaction().compress(x, mask)
        position = (seen[:, None] + mask.cumsum(1) - 1).flatten().index_select(0, packed.index)
        return replace(packed, position=position)
    n_rows, length, _ = x.shape
    row, place = (torch.arange(n, device=x.device) for n in (n_rows, length))
    return Elements(
        x.flatten(0, 1),
        row.repeat_interleave(length),
        (seen[:, None] + place).flatten(),
        torch.arange(n_rows * length, device=x.device),
        torch.arange(n_rows + 1, device=x.device) * length,
        longest=length,
    )
