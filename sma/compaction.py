"""Compaction: gather the active elements of a batch into a flat list, and scatter results back.

Three layouts of one list: packed (no padding), padded (every row as long as the fullest) and fixed capacity
(static shapes). A sub-module sees the same `Elements` from each, so the three agree.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor
from typing_extensions import override

from sma.capacity import Share, within
from sma.checks import check_not_mapped
from sma.elements import Elements, take_rows
from sma.state import NoState, State, check_state

_UNLIMITED = 2**62
"""More elements than any row has, and few enough for a long tensor."""


class Compaction(ABC):
    """How active elements become `Elements`, and how results return to their places.

    A new layout implements `compress`; `extract` serves all layouts. One that cannot hold every element
    also implements `limit`, and with it `init_state` and `piece`.
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

    def limit(self, active: Tensor, mask: Tensor | None = None, state: State | None = None) -> Tensor:
        """The part of `active` that is kept: all of it, unless overridden.

        What is kept must depend on nothing that comes later, and on no padding and no other row.

        Args:
            active: `(B, L, M)` bool, the decisions for M sub-modules, whose capacities are separate.
            mask: `(B, L)` bool, True = a real element. None: all are real.
            state: in decoding, as `init_state` returned it; advanced in place. None: these are whole rows.

        Returns:
            `(B, L, M)` bool.
        """
        return active

    def init_state(self, batch_size: int, n_modules: int, *, device: torch.device | None = None) -> State:
        """The state of `limit` before the first piece of every row."""
        return NoState()

    @property
    def piece(self) -> "Compaction":
        """The layout of a piece of every row in decoding, which holds all that `limit` lets through."""
        return self

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
        if elements.packed:
            if not torch.compiler.is_compiling() and len(y) == n_elements:
                return y.view(shape)
            return y.new_zeros(n_elements, shape[2]).index_copy_(0, elements.index, y).view(shape)
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
        check_not_mapped(active, "PackedCompaction")
        index = active.flatten().nonzero().squeeze(1)
        gathered = take_rows(x.flatten(0, 1), index)
        if x.shape[1] == 1:  # a decoding step
            counts, row, position = active.flatten(), index, torch.zeros_like(index)
        else:
            length = max(x.shape[1], 1)
            counts, row = active.sum(1), index.div(length, rounding_mode="floor")
            position = index - row * length
        ptr = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        return Elements(gathered, row, position, index, ptr, longest=x.shape[1], packed=True)


class PaddedCompaction(Compaction):
    """Every row padded to the fullest row: T = B * (the most active elements of any row).

    The layout of torch_geometric's `to_dense_batch`.

    Example:
        >>> x = torch.arange(6.).view(2, 3, 1)
        >>> active = torch.tensor([[True, False, True], [False, False, True]])
        >>> elements = PaddedCompaction().compress(x, active)
        >>> elements.x.squeeze(-1).tolist(), elements.row.tolist()
        ([0.0, 2.0, 5.0, 0.0], [0, 0, 1, -1])
    """

    @override
    def compress(self, x: Tensor, active: Tensor) -> Elements:
        _check(x, active)
        check_not_mapped(active, "PaddedCompaction")
        return _in_rows(x, active, int(active.sum(1).max()) if len(active) else 0)


@dataclass(frozen=True)
class CapacityState(State):
    """State of a capacity between the pieces of rows.

    Attributes:
        seen: `(B,)` long; the real elements that each row has had.
        kept: `(B, M)` long; the elements that each sub-module was given.
    """

    seen: Tensor
    kept: Tensor


class CapacityCompaction(Compaction):
    r"""A fixed number of slots per row, whatever the data: static shapes for torch.compile and CUDA graphs.

    An active element beyond the capacity is dropped: it contributes zero, as if it had not activated.
    With a number, a row keeps its first so many. With a share, at most that share of the real elements so far
    is kept:

    $$ K_t = \min(K_{t-1} + a_t,\; \lceil \text{share} \cdot n_t \rceil) $$

    where K counts what is kept up to t, and n the row's real elements up to and including t. Neither padding
    nor what comes later counts. So rows stay independent, causal models causal, and decoding gives what a
    pass over whole rows gives. The number dropped is in the recording (`sma.record`); `strict` makes it an
    error.

    Args:
        capacity: per row: a number of elements, as an int, or a share of them, as a float in (0, 1].
        strict: raise ValueError when a row overflows (waits for the device).

    Raises:
        ValueError: if `capacity` is not positive, or a share above 1.
        TypeError: if `capacity` is not a number.

    Example:
        >>> x = torch.arange(6.).view(2, 3, 1)
        >>> active = torch.tensor([[True, True, True], [False, False, True]])
        >>> elements = CapacityCompaction(2).compress(x, active)  # drops one
        >>> elements.x.squeeze(-1).tolist(), elements.row.tolist()
        ([0.0, 1.0, 5.0, 0.0], [0, 0, 1, -1])
        >>> CapacityCompaction(0.5).limit(active.unsqueeze(-1)).squeeze(-1).tolist()
        [[True, False, True], [False, False, True]]
    """

    def __init__(self, capacity: int | float, *, strict: bool = False) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, Real):
            raise TypeError(f"capacity={capacity!r} must be an int (elements per row) or a float (a share)")
        if not capacity > 0 or (not isinstance(capacity, Integral) and capacity > 1):
            raise ValueError(
                "capacity must be a positive int (elements per row) or a float in (0, 1] (share of a row), "
                f"got {capacity!r}"
            )
        self.capacity: int | float = capacity
        self.strict: bool = strict
        self._share: Share | None = None if isinstance(capacity, Integral) else Share.of(capacity)
        self._piece: CapacityCompaction = (
            self if self._share is None or capacity == 1 else CapacityCompaction(1.0)
        )

    @property
    @override
    def piece(self) -> "CapacityCompaction":
        """One slot per element of a piece: earlier elements may have left all of their share to these."""
        return self._piece

    def slots_per_row(self, length: int) -> int:
        """The number of slots that a row of `length` elements gets."""
        return min(int(self.capacity), length) if self._share is None else self._share.round_up(length)

    @override
    def init_state(
        self, batch_size: int, n_modules: int, *, device: torch.device | None = None
    ) -> CapacityState:
        seen, kept = (torch.zeros(size, dtype=torch.long, device=device) for size in (1, n_modules))
        return CapacityState(seen.repeat(batch_size), kept.repeat(batch_size, 1))

    @override
    def limit(self, active: Tensor, mask: Tensor | None = None, state: State | None = None) -> Tensor:
        n_rows, _, n_modules = active.shape
        before = check_state(
            self.init_state(n_rows, n_modules, device=active.device) if state is None else state,
            CapacityState,
            n_rows,
        )
        real = torch.ones_like(active[..., 0]) if mask is None else mask
        allowed: Tensor | int = min(int(self.capacity), _UNLIMITED)
        if self._share is not None:
            seen = before.seen[:, None] + real.cumsum(1)
            allowed = self._share.round_up(seen).unsqueeze(-1)
        kept = within(active, allowed, before.kept)
        if self.strict and bool((kept != active).any()):
            raise ValueError(self._overflow(active, kept))
        if state is not None:
            before.seen.add_(real.sum(1))
            before.kept.add_(kept.sum(1))
        return kept

    @override
    def compress(self, x: Tensor, active: Tensor) -> Elements:
        _check(x, active)
        return _in_rows(x, self.limit(active.unsqueeze(-1)).squeeze(-1), self.slots_per_row(x.shape[1]))

    def _overflow(self, active: Tensor, kept: Tensor) -> str:
        row, _, module = (kept != active).nonzero()[0].tolist()
        n_active, n_kept = (int(t[row, :, module].sum()) for t in (active, kept))
        return (
            f"row {row} activates {n_active} elements of sub-module {module}, and capacity "
            f"{self.capacity!r} holds {n_kept} of them; raise the capacity"
        )


def _check(x: Tensor, active: Tensor) -> None:
    if x.dim() != 3 or active.shape != x.shape[:2] or active.dtype != torch.bool:
        raise ValueError(
            f"compress takes x (B, L, D) and active (B, L) bool, got x {tuple(x.shape)} and "
            f"active {tuple(active.shape)} {active.dtype}"
        )


def _in_rows(x: Tensor, active: Tensor, width: int) -> Elements:
    """The active elements in `width` slots per row, which hold them all."""
    n_rows, length, _ = x.shape
    rows = torch.arange(n_rows, device=x.device)
    slot = rows[:, None] * width + active.cumsum(1) - 1
    slot = torch.where(active, slot, n_rows * width).flatten()
    places = torch.arange(n_rows * length, device=x.device)
    spare = torch.full((n_rows * width + 1,), -1, dtype=torch.long, device=x.device)
    index = spare.scatter(0, slot, places)[: n_rows * width]
    valid = index >= 0
    index = index.clamp(min=0)
    return Elements(
        x.flatten(0, 1).index_select(0, index).masked_fill(~valid[:, None], 0),
        torch.where(valid, rows.repeat_interleave(width), -1),
        torch.where(valid, index % max(length, 1), 0),
        index,
        torch.arange(n_rows + 1, device=x.device) * width,
        longest=width,
        even=True,
    )
