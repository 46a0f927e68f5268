"""A sub-module without a router: every element reaches it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from sma import Edges, Elements, PackedCompaction, SequenceModule, State, SubModule
from sma.checks import check_part
from sma.sequence import zero_padding
from sma.state import check_state


@dataclass(frozen=True)
class DenseState(State):
    """Decoding state of `Dense`.

    Attributes:
        position: `(B,)` long; the number of elements each row has seen.
        module: the sub-module's state.
    """

    position: Tensor
    module: State


class Dense(SequenceModule):
    r"""A sub-module on all real elements of every row: a layer that decides nothing, and records nothing.

    Equal to `SMA(AlwaysActive(1), [module])` without a router; where there is no mask, also without gathering
    elements and without waiting for the device.

    Args:
        module: the sub-module.

    Raises:
        TypeError: if it is none.

    Example:
        >>> from sma.modules import MultiHeadAttention
        >>> Dense(MultiHeadAttention(16, n_heads=2, window=4))(torch.randn(2, 10, 16)).shape
        torch.Size([2, 10, 16])
    """

    def __init__(self, module: SubModule) -> None:
        super().__init__()
        check_part(module, SubModule)
        self.module = module

    @property
    @override
    def causal(self) -> bool:  # type: ignore[override]
        """Whether the sub-module does not look ahead."""
        return self.module.causal

    @property
    @override
    def uses_edges(self) -> bool:  # type: ignore[override]
        """Whether the sub-module reads the edges between elements."""
        return self.module.uses_edges

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None, edges: Edges | None = None) -> Tensor:
        """`(B, L, D) -> (B, L, D)`; exactly 0 at padding. `edges` as for `SMA.forward`."""
        x = zero_padding(x, mask)
        elements = _elements(x, mask, torch.zeros(len(x), dtype=torch.long, device=x.device))
        if edges is not None and self.uses_edges:
            elements = elements.with_edges(edges, x.shape[0] * x.shape[1])
        return _extract(self.module(elements), elements, x, mask)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> DenseState:
        position = torch.zeros(batch_size, dtype=torch.long, device=device)
        return DenseState(position, self.module.init_state(batch_size, device=device, dtype=dtype))

    @override
    def step(self, x: Tensor, state: DenseState, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        x = zero_padding(x, mask)
        check_state(state, DenseState, len(x))
        elements = _elements(x, mask, state.position)
        y = self.module.step(elements, state.module)
        state.position.add_(x.shape[1] if mask is None else mask.sum(1))
        return _extract(y, elements, x, mask)

    @override
    def flops(self, n: int) -> int:
        return self.module.flops(n)


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


def _extract(y: Tensor, elements: Elements, x: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return y.view(x.shape).to(x)
    return PackedCompaction().extract(y, elements, x.shape).to(x)
