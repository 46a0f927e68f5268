"""The compacted elements of a batch as one flat list, the edges between elements, and packed rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from sma.checks import check_not_mapped, describe

_ALIKE = 0.85  # packed rows of a group are at least so long, relative to its longest


@dataclass(frozen=True)
class Edges:
    """Directed edges between numbered places: elements of a flattened batch, or slots of `Elements`.

    Attributes:
        index: `(2, E)` long; where each edge starts, and where it ends: torch_geometric's `edge_index`.
        attributes: what is known of each edge, `(E, ...)`, by name.

    Example:
        >>> edges = Edges(torch.tensor([[0, 1, 2], [1, 2, 0]]))
        >>> edges.relabel(torch.tensor([0, -1, 1])).index.tolist()  # without place 1
        [[1], [0]]
    """

    index: Tensor
    attributes: Mapping[str, Tensor] = field(default_factory=dict)

    def relabel(self, number: Tensor) -> "Edges":
        """The edges between places that are kept, in the same order.

        Args:
            number: `(P,)` long; the new number of each place, -1 for one that is dropped.

        Raises:
            ValueError: see `check_ends`.
        """
        check_ends(self.index, len(number), "edges.index")
        index = number[self.index]
        kept = (index >= 0).all(0)
        return Edges(index[:, kept], {name: values[kept] for name, values in self.attributes.items()})


@dataclass(frozen=True)
class Elements:
    """The active elements of all rows of a batch, one after another in a flat list of T slots.

    Slots are ordered by row, and by position within a row. A padding slot belongs to no row (`row` is -1);
    padding slots of a row come after its elements. `PackedCompaction` makes none, and says so by `packed`.
    The conventions are those of torch_geometric's `Batch`: `row` is its `batch`, `ptr` its `ptr` (and
    `cu_seqlens` elsewhere).

    Attributes:
        x: `(T, D)`; zero in a padding slot.
        row: `(T,)` long; the row an element came from, -1 in a padding slot.
        position: `(T,)` long; the element's place in that row, 0 in a padding slot.
        index: `(T,)` long; the element's place in the flattened `(B * L)` input, 0 in a padding slot.
        ptr: `(B + 1,)` long; row b owns the slots `ptr[b]:ptr[b + 1]`, its padding slots included.
        longest: no row owns more slots than this; None: not known without asking the device.
        edges: those between the slots; None where the input has no edges.
        even: whether every row owns exactly `longest` slots, whatever the data.
        packed: whether there are no padding slots, whatever the data.
    """

    x: Tensor
    row: Tensor
    position: Tensor
    index: Tensor
    ptr: Tensor
    longest: int | None = None
    edges: Edges | None = None
    even: bool = False
    packed: bool = False

    @property
    def valid(self) -> Tensor:
        """`(T,)` bool: True in a slot that holds an element."""
        return self.row >= 0

    @property
    def nothing_to_compute(self) -> bool:
        """Whether there is certainly no slot, and no gradient that would have to be a zero tensor.

        Compiled code does not know how many slots there are.
        """
        return not torch.compiler.is_compiling() and not torch.is_grad_enabled() and len(self.x) == 0

    @property
    def n_rows(self) -> int:
        """B, the number of rows, also of those without an element here."""
        return len(self.ptr) - 1

    @property
    def counts(self) -> Tensor:
        """`(B,)` long; how many elements each row has here."""
        row, number = self.row.clamp(min=0), self.valid.to(self.ptr)
        return torch.zeros_like(self.ptr[1:]).index_add(0, row, number)

    @property
    def owner(self) -> Tensor:
        """`(T,)` long; the row that owns each slot, also of a padding slot."""
        if self.packed:
            return self.row
        slots = torch.arange(len(self.row), device=self.row.device)
        return torch.searchsorted(self.ptr, slots, right=True) - 1

    def to_padded(
        self, time: Tensor | None = None, *, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The elements as a padded batch; waits for the device, except at ranks in slots that are `even`.

        Args:
            time: `(T,)` long; the place of each element in its row, from 0 on. None: at its rank, without
                gaps.
            rows: `(R,)` long; the rows wanted, among them all that have elements. None: all.

        Returns:
            The batch `(R, longest, D)`, 0 where no element stands, with the slots of a row where they are
            `even`; how many places each row fills, `(R,)` long; and for every slot its place in the
            flattened batch `(T,)`, that behind the last for padding slots.

        Example:
            >>> from sma import PackedCompaction
            >>> x, active = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[True, False, True]])
            >>> elements = PackedCompaction().compress(x, active)
            >>> elements.to_padded()[0].tolist(), elements.to_padded(elements.position)[0].tolist()
            ([[[1.0], [3.0]]], [[[1.0], [0.0], [3.0]]])
        """
        check_not_mapped(self.row, "a padded batch of elements", instead="")
        if self.even and self.longest is not None and time is None and rows is None:
            n_places = self.n_rows * self.longest
            place = torch.where(self.valid, torch.arange(n_places, device=self.row.device), n_places)
            batch = self.x.masked_fill(~self.valid[:, None], 0)
            return batch.view(self.n_rows, self.longest, self.x.shape[1]), self.counts, place
        row = self.row.clamp(min=0)
        if time is None:
            time = torch.arange(len(row), device=row.device) - self.ptr.index_select(0, row)
        n_rows = self.n_rows if rows is None else len(rows)
        if rows is not None:
            number = row.new_zeros(self.n_rows).index_copy(0, rows, torch.arange(n_rows, device=row.device))
            row = number.index_select(0, row)
        filled = row.new_zeros(n_rows).scatter_reduce(0, row, torch.where(self.valid, time + 1, 0), "amax")
        longest = int(filled.max()) if n_rows else 0
        n_places = n_rows * longest
        place = torch.where(self.valid, row * longest + time, n_places)
        batch = self.x.new_zeros(n_places + 1, self.x.shape[1]).index_copy(0, place, self.x)
        return batch[:n_places].view(n_rows, longest, self.x.shape[1]), filled, place

    def from_padded(self, y: Tensor, place: Tensor) -> Tensor:
        """The entries of a batch `y (R, longest, D)` at the slots' places, `(T, D)`; 0 in padding slots.

        Args:
            y: in the shape that `to_padded` gave.
            place: as `to_padded` gave it.
        """
        return torch.cat((y.flatten(0, 1), y.new_zeros(1, y.shape[2]))).index_select(0, place)

    def take(self, values: Tensor) -> Tensor:
        """The entries of `values (B * L,)` at the slots' elements, `(T,)`; 0 in padding slots."""
        if self.packed:
            return take_rows(values, self.index)
        return values.index_select(0, self.index).masked_fill(~self.valid, 0)

    def with_x(self, x: Tensor) -> "Elements":
        """The same slots holding `x (T, D')`."""
        return replace(self, x=x)

    def with_edges(self, edges: Edges | None, n_places: int) -> "Elements":
        """The same slots, and those of `edges` that start and end in one.

        Args:
            edges: between the places of the flattened input; None: there are none.
            n_places: how many places there are, B * L.
        """
        if edges is None:
            return self
        number = torch.full((n_places + 1,), -1, dtype=torch.long, device=self.index.device)
        place = torch.where(self.valid, self.index, n_places)  # the extra one takes the padding slots
        number = number.index_copy(0, place, torch.arange(len(place), device=place.device))
        return replace(self, edges=edges.relabel(number[:n_places]))


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """`x[index]` for `index` without repetitions and in order: `x` itself, not a copy, if that is all of it.

    Compiled code does not know how many there are, and copies.
    """
    everything = not torch.compiler.is_compiling() and len(index) == len(x)
    return x if everything else x.index_select(0, index)


@dataclass(frozen=True)
class PackedRows:
    """Where the real elements of a padded batch stand when they follow one another, row by row, in one row.

    Attributes:
        row: `(T,)` long; the row of every element.
        position: `(T,)` long; its place among the real elements of that row.
        index: `(T,)` long; its place in the flattened `(B * L)` batch.
        ptr: `(B + 1,)` long; row b has the elements `ptr[b]:ptr[b + 1]`.
        mask: `(B, L)` bool; of the batch, True = a real element.

    Example:
        >>> rows = PackedRows.of(torch.tensor([[True, False], [True, True]]))
        >>> x = torch.tensor([[[1.0], [9.0]], [[2.0], [3.0]]])
        >>> rows.pack(x).tolist(), rows.pad(rows.pack(x)).tolist()
        ([[[1.0], [2.0], [3.0]]], [[[1.0], [0.0]], [[2.0], [3.0]]])
    """

    row: Tensor
    position: Tensor
    index: Tensor
    ptr: Tensor
    mask: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> "PackedRows":
        """Those of a batch with this `mask (B, L)`; waits for the device."""
        index = mask.flatten().nonzero().squeeze(1)
        ptr = F.pad(mask.sum(1).cumsum(0), (1, 0))
        row = index.div(max(mask.shape[1], 1), rounding_mode="floor")
        position = torch.arange(len(index), device=mask.device) - ptr.index_select(0, row)
        return cls(row, position, index, ptr, mask)

    @property
    def counts(self) -> Tensor:
        """`(B,)` long; how many real elements each row has."""
        return self.ptr.diff()

    def pack(self, x: Tensor) -> Tensor:
        """The real elements of `x (B, L, D)`, `(1, T, D)`; padding is not read."""
        return x.flatten(0, 1).index_select(0, self.index).unsqueeze(0)

    def pad(self, x: Tensor) -> Tensor:
        """The batch `(B, L, D)` of `x (1, T, D)`, 0 at padding."""
        batch = x.new_zeros(self.mask.numel(), x.shape[2]).index_copy(0, self.index, x.squeeze(0))
        return batch.view(*self.mask.shape, x.shape[2])

    def assign(self, elements: Elements) -> Elements:
        """Elements taken from the packed row by `PackedCompaction`, with their own rows and positions."""
        row, position = (x.index_select(0, elements.index) for x in (self.row, self.position))
        counts = torch.zeros_like(self.ptr[1:]).index_add(0, row, torch.ones_like(row))
        ptr = F.pad(counts.cumsum(0), (1, 0))
        return replace(elements, row=row, position=position, ptr=ptr, longest=self.mask.shape[1], even=False)

    def in_groups(self, function: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
        """A function of padded batches on `x (1, T, D)`: rows that are about equally long share a batch.

        Args:
            function: from `(R, N, D)` and a mask `(R, N)` to `(R, N, D')`, each row by itself.
            x: `(1, T, D)`.

        Returns:
            `(1, T, D')`.
        """
        if not len(self.row):
            return function(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
        results, places = [], []
        for rows, length in self._groups():
            step = torch.arange(length, device=x.device)
            real = step < self.counts[rows, None]
            place = self.ptr[rows, None] + step
            batch = x[0].index_select(0, torch.where(real, place, 0).flatten())
            batch = batch.view(*real.shape, -1).masked_fill(~real.unsqueeze(-1), 0)
            places.append(place[real])
            results.append(function(batch, real)[real])
        return torch.cat(results).index_select(0, torch.cat(places).argsort()).unsqueeze(0)

    def _groups(self) -> list[tuple[Tensor, int]]:
        """The rows with elements, those of about one length together, and the length of the longest."""
        counts, order = self.counts.sort(descending=True)
        groups: list[tuple[list[int], int]] = []
        for row, count in zip(order.tolist(), counts.tolist(), strict=True):
            if not groups or count < _ALIKE * groups[-1][1]:
                groups.append(([], count))
            groups[-1][0].append(row)
        return [(torch.tensor(rows), length) for rows, length in groups if length]


def check_ends(index: Tensor, n_places: int, name: str) -> None:
    """Check the ends of edges.

    Raises:
        ValueError: if `index`, called `name`, is not `(2, E)` integers, or (on the CPU: elsewhere this would
            wait for the device) if one of them is not from 0 to `n_places` - 1.
    """
    whole = isinstance(index, Tensor) and index.dtype in (torch.int32, torch.int64)
    if not whole or index.dim() != 2 or len(index) != 2:
        raise ValueError(f"{name} must be (2, E) integers, torch.long, got {describe(index)}")
    if index.device.type == "cpu" and index.numel() and not torch.compiler.is_compiling():
        lowest, highest = map(int, index.aminmax())
        if lowest < 0 or highest >= n_places:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(
                f"{name} has an edge at {wrong}, which is not one of the {n_places} nodes, numbered from 0"
            )
