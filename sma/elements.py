"""The compacted elements of a batch, as one flat list."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sma.edges import Edges


@dataclass(frozen=True)
class Elements:
    """The active elements of all rows of a batch, one after another in a flat list of T slots.

    Slots are ordered by row, and by position within a row. A padding slot belongs to no row (`row` is -1);
    padding slots of a row come after its elements. `PackedCompaction` makes none. The conventions are those
    of torch_geometric's `Batch`: `row` is its `batch`, `ptr` its `ptr` (and `cu_seqlens` elsewhere).

    Attributes:
        x: `(T, D)`; zero in a padding slot.
        row: `(T,)` long; the row an element came from, -1 in a padding slot.
        position: `(T,)` long; the element's place in that row, 0 in a padding slot.
        index: `(T,)` long; the element's place in the flattened `(B * L)` input, 0 in a padding slot.
        ptr: `(B + 1,)` long; row b owns the slots `ptr[b]:ptr[b + 1]`, its padding slots included.
        longest: no row owns more slots than this; None: not known without asking the device.
        edges: those between the slots, for a sub-module with `uses_edges`; None for any other.
    """

    x: Tensor
    row: Tensor
    position: Tensor
    index: Tensor
    ptr: Tensor
    longest: int | None = None
    edges: Edges | None = None

    @property
    def valid(self) -> Tensor:
        """`(T,)` bool: True in a slot that holds an element."""
        return self.row >= 0

    @property
    def n_rows(self) -> int:
        """B, the number of rows, also of those without an element here."""
        return len(self.ptr) - 1

    def with_x(self, x: Tensor) -> "Elements":
        """The same slots holding `x (T, D')`."""
        return replace(self, x=x)

    def with_edges(self, edges: Edges, n_places: int) -> "Elements":
        """The same slots, and those of `edges` that start and end in one.

        Args:
            edges: between the places of the flattened input.
            n_places: how many places there are, B * L.
        """
        number = torch.full((n_places + 1,), -1, dtype=torch.long, device=self.index.device)
        place = torch.where(self.valid, self.index, n_places)  # the extra one takes the padding slots
        number = number.index_copy(0, place, torch.arange(len(place), device=place.device))
        return replace(self, edges=edges.relabel(number[:n_places]))
