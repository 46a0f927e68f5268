"""Any map of sequences as a sub-module: routed blocks, routed SSMs, SMA inside SMA."""

import torch
from torch import Tensor
from typing_extensions import override

from sma import Elements, SequenceModule, State, SubModule


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

    @property
    @override
    def causal(self) -> bool:  # type: ignore[override]
        """Whether the module does not look ahead."""
        return self.module.causal

    @property
    @override
    def uses_edges(self) -> bool:  # type: ignore[override]
        """Whether the module reads the edges between elements."""
        return self.module.uses_edges

    @override
    def forward(self, elements: Elements) -> Tensor:
        rows, mask, slot = _rows(elements, torch.arange(elements.n_rows, device=elements.row.device))
        if self.uses_edges and elements.edges is not None:
            return self._change(elements, self.module(rows, mask, elements.edges.relabel(slot)), slot)
        return self._change(elements, self.module(rows, mask), slot)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.module.init_state(batch_size, device=device, dtype=dtype)

    @override
    def step(self, elements: Elements, state: State) -> Tensor:
        """Only the rows with an element here are computed."""
        active = (elements.ptr.diff() > 0).nonzero().squeeze(1)
        rows, mask, slot = _rows(elements, active)
        part = state.select(active)
        y = self.module.step(rows, part, mask)
        state.insert(active, part)
        return self._change(elements, y, slot)

    @override
    def flops(self, n: int) -> int:
        return self.module.flops(n)

    def _change(self, elements: Elements, rows: Tensor, slot: Tensor) -> Tensor:
        y = torch.cat((rows.flatten(0, 1), rows.new_zeros(1, rows.shape[-1]))).index_select(0, slot)
        return y - elements.x if self.change_only else y


def _rows(elements: Elements, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The elements of R rows, `(R, longest, D)`, with a mask, and each slot's place there (last: none)."""
    longest = int(elements.ptr.diff().max()) if elements.n_rows else 0
    n_slots = len(which) * longest
    place = elements.row.new_zeros(elements.n_rows).index_copy(
        0, which, torch.arange(len(which), device=which.device)
    )
    row = elements.row.clamp(min=0)
    rank = torch.arange(len(row), device=row.device) - elements.ptr.index_select(0, row)
    slot = torch.where(elements.valid, place.index_select(0, row) * longest + rank, n_slots)
    x = elements.x.new_zeros(n_slots + 1, elements.x.shape[1]).index_copy(0, slot, elements.x)
    mask = torch.zeros(n_slots + 1, dtype=torch.bool, device=row.device).index_fill(0, slot, True)
    shape = (len(which), longest)
    return (
        x[:n_slots].view(*shape, -1) if n_slots else x[:0].view(*shape, x.shape[1]),
        mask[:n_slots].view(shape),
        slot,
    )
