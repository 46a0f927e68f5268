"""Compaction: gather the active elements of a batch into a flat list, and scatter results back.

Three layouts of one list: packed (no padding), padded (every row as long as the fullest) and fixed capacity
(static shapes). A sub-module sees the same `Elements` from each, so the three agree.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from sma.elements import Elements


class Compaction(ABC):
    """How active elements become `Elements`, and how results return to their places.

    A new layout implements `compress`; `extract` serves all layouts.
    """

    @abstractmethod
    def compress(self, x: Tensor, active: Tensor) -> Elements:
        """Gather the active elements.

        Args:
            x: `(B, L, D)`. Inactive elements are never read: they may hold NaN.
            active: `(B, L)` bool.

        Returns:
            The elements, with gradients to `x` at the active elements only.
        """

    def extract(self, y: Tensor, elements: Elements, shape: torch.Size | tuple[int, int, int]) -> Tensor:
        """Put one result per slot back into place; zero where there is none.

        Args:
            y: `(T, D)`, one result per slot of `elements`; padding slots are dropped.
            elements: as `compress` returned them.
            shape: `(B, L, D)` of the result.

        Returns:
            `(B, L, D)`: `y` where an element was active, exactly 0 elsewhere.
        """
        n_elements = shape[0] * shape[1]
        slot = torch.where(elements.valid, elements.index, n_elements)
        out = y.new_zeros(n_elements + 1, shape[2])  # the extra row takes the padding slots
        return out.index_copy_(0, slot, y)[:n_elements].view(shape)


class PackedCompaction(Compaction):
    """No padding at all: T = N, the number of active elements. The default.

    Shapes depend on the data, so on a GPU this waits for the device once per sub-module. With `dynamic=True`,
    `torch.compile` compiles once for any number of active elements. It breaks its graph here, unless
    `torch._dynamo.config.capture_dynamic_output_shape_ops` is set.

    Example:
        >>> x = torch.arange(6.).view(2, 3, 1)
        >>> active = torch.tensor([[True, False, True], [False, False, True]])
        >>> elements = PackedCompaction().compress(x, active)
        >>> elements.x.squeeze(-1).tolist(), elements.row.tolist(), elements.position.tolist()
        ([0.0, 2.0, 5.0], [0, 0, 1], [0, 2, 2])
    """

    @override
    def compress(self, x: Tensor, active: Tensor) -> Elements:
        _check(x, active)
        length = max(x.shape[1], 1)
        index = active.flatten().nonzero().squeeze(1)
        ptr = torch.nn.functional.pad(active.sum(1).cumsum(0), (1, 0))
        row = index.div(length, rounding_mode="floor")
        gathered = x.flatten(0, 1).index_select(0, index)
        return Elements(gathered, row, index - row * length, index, ptr, longest=x.shape[1])


class PaddedCompaction(Compaction):
    """Every row padded to the fullest row: T = B * (the most active elements of any row).

    The layout of torch_geometric's `to_dense_batch`, which it calls.

    Example:
        >>> x = torch.arange(6.).view(2, 3, 1)
        >>> active = torch.tensor([[True, False, True], [False, False, True]])
        >>> elements = PaddedCompaction().compress(x, active)
        >>> elements.x.squeeze(-1).tolist(), elements.row.tolist()
        ([0.0, 2.0, 5.0, 0.0], [0, 0, 1, -1])
    """

    @override
    def compress(self, x: Tensor, active: Tensor) -> Elements:
        packed = PackedCompaction().compress(x, active)
        n_rows = packed.n_rows
        if len(packed.row) == 0:
            return packed
        from torch_geometric.utils import to_dense_batch  # takes 3 s to import

        dense, valid = to_dense_batch(packed.x, packed.row, batch_size=n_rows)
        valid = valid.flatten()
        width = dense.shape[1]

        def spread(values: Tensor, fill: int) -> Tensor:
            return torch.full_like(valid, fill, dtype=torch.long).masked_scatter(valid, values)

        return Elements(
            dense.flatten(0, 1),
            spread(packed.row, -1),
            spread(packed.position, 0),
            spread(packed.index, 0),
            torch.arange(n_rows + 1, device=x.device) * width,
            longest=width,
        )


class CapacityCompaction(Compaction):
    """A fixed number of slots per row, whatever the data: static shapes for torch.compile and CUDA graphs.

    Where a row has more active elements than slots, the last ones are dropped: they contribute zero, as if
    they had not activated. Dropping the last keeps causal models causal and rows independent. The number
    dropped is in the recording (`sma.record`), and `strict` makes it an error.

    Args:
        capacity: slots per row: an int, or a float in (0, 1] as a fraction of the row's length.
        strict: raise ValueError when a row overflows (waits for the device).

    Raises:
        ValueError: if `capacity` is not positive, or a fraction above 1.

    Example:
        >>> x = torch.arange(6.).view(2, 3, 1)
        >>> active = torch.tensor([[True, True, True], [False, False, True]])
        >>> elements = CapacityCompaction(2).compress(x, active)  # drops one
        >>> elements.x.squeeze(-1).tolist(), elements.row.tolist()
        ([0.0, 1.0, 5.0, 0.0], [0, 0, 1, -1])
    """

    def __init__(self, capacity: int | float, *, strict: bool = False) -> None:
        if capacity <= 0 or (isinstance(capacity, float) and capacity > 1):
            raise ValueError(
                "capacity must be a positive int (slots per row) or a float in (0, 1] (fraction of the row), "
                f"got {capacity!r}"
            )
        self.capacity = capacity
        self.strict = strict

    def slots_per_row(self, length: int) -> int:
        """The number of slots that a row of `length` elements gets."""
        if isinstance(self.capacity, float):
            return -int(-self.capacity * length // 1)
        return min(self.capacity, length)

    @override
    def compress(self, x: Tensor, active: Tensor) -> Elements:
        _check(x, active)
        n_rows, length, _ = x.shape
        width = self.slots_per_row(length)
        rank = active.cumsum(1) - 1
        kept = active & (rank < width)
        if self.strict and bool((kept != active).any()):
            raise ValueError(
                f"a row activates {int(active.sum(1).max())} elements, more than the {width} slots that "
                f"capacity {self.capacity!r} gives a row of {length}; raise the capacity"
            )
        rows = torch.arange(n_rows, device=x.device)
        slot = torch.where(kept, rows[:, None] * width + rank, n_rows * width).flatten()
        places = torch.arange(n_rows * length, device=x.device)
        spare = torch.full((n_rows * width + 1,), -1, dtype=torch.long, device=x.device)
        index = spare.scatter(0, slot, places)[: n_rows * width]
        valid = index >= 0
        index = index.clamp(min=0)
        gathered = x.flatten(0, 1).index_select(0, index).masked_fill(~valid[:, None], 0)
        return Elements(
            gathered,
            torch.where(valid, rows.repeat_interleave(width), -1),
            torch.where(valid, index % max(length, 1), 0),
            index,
            torch.arange(n_rows + 1, device=x.device) * width,
            longest=width,
        )


def _check(x: Tensor, active: Tensor) -> None:
    if x.dim() != 3 or active.shape != x.shape[:2] or active.dtype != torch.bool:
        raise ValueError(
            f"compress takes x (B, L, D) and active (B, L) bool, got x {tuple(x.shape)} and "
            f"active {tuple(active.shape)} {active.dtype}"
        )
