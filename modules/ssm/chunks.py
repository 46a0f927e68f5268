"""Sequences in chunks: padded rows, and packed rows that each begin with a chunk of their own."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from sma.elements import PackedRows
from sma.modules.functional import transformed
from sma.modules.ssm.scan import shift

CHUNK = 64  # elements; 32 to 128 are about equally fast for 16 to 64 states
_LEAST = 16  # elements; of chunks of short packed rows
LOG_OF_ZERO = -1e4  # stands for the logarithm of a decay of 0: exp of it is 0, and 0 times it is 0


def chunk_size(length: int, truncation: int | None) -> int:
    """The preferred size, or near it one that divides the truncation: fewer chunks are then partly cut."""
    if truncation is not None:
        sizes = sorted(range(CHUNK // 2, CHUNK * 3 // 2 + 1, 8), key=lambda size: abs(size - CHUNK))
        size = next((size for size in sizes if truncation % size == 0), CHUNK)
    else:
        size = CHUNK
    return max(1, min(size, length))


@dataclass(frozen=True)
class RowChunks:
    """Chunks of C elements, G of them, of packed rows: the last one of each row is filled up with zeros.

    Attributes:
        row: `(G,)` long; the row of every chunk.
        place: `(T,)` long; the place of every element among the G * C of all chunks.
        size: C.
        longest: the most elements that a row has.
    """

    row: Tensor
    place: Tensor
    size: int
    longest: int

    @classmethod
    def of(cls, rows: PackedRows, truncation: int | None) -> "RowChunks":
        """Chunks of the preferred size, or of a smaller one where rows are short."""
        longest, n_filled = int(rows.counts.max()), int((rows.counts > 0).sum())
        size = chunk_size(longest, None if truncation is None or truncation >= longest else truncation)
        while size >= 2 * _LEAST and 4 * size * n_filled > len(rows.row):
            size //= 2
        n_chunks = -(-rows.counts // size)
        first = n_chunks.cumsum(0) - n_chunks
        row = torch.repeat_interleave(torch.arange(len(n_chunks), device=n_chunks.device), n_chunks)
        place = first.index_select(0, rows.row) * size + rows.position
        return cls(row, place, size, longest)

    def spread(self, x: Tensor) -> Tensor:
        """`(1, T, D)` -> `(1, G * C, D)`."""
        chunks = x.new_zeros(len(self.row) * self.size, x.shape[2])
        return chunks.index_copy(0, self.place, x.squeeze(0)).unsqueeze(0)

    def collect(self, y: Tensor) -> Tensor:
        """`(1, G * C, D)` -> `(1, T, D)`."""
        return y.index_select(1, self.place)

    def reversed(self) -> "RowChunks":
        """The chunks from the last to the first."""
        return replace(self, row=self.row.flip(0))

    def shift(self, x: Tensor, by: int) -> Tensor:
        """Move `x (..., G, S)` by `by` places along G, zeros coming in at the borders of rows."""
        number = self.row + 1
        same = shift(number.unsqueeze(-1), by).squeeze(-1) == number
        return shift(x, by).masked_fill(~same.unsqueeze(-1), 0)

    def begin_anew(self, log_decay: Tensor) -> Tensor:
        """`log_decay (..., 1, S)` of every chunk, `(..., G, S)`: a decay to 0 at the first of a row."""
        first = self.row.diff(prepend=self.row[:1] - 1) != 0
        each = log_decay.expand(*log_decay.shape[:-2], len(first), -1)
        return each.masked_fill(first.unsqueeze(-1), LOG_OF_ZERO)


def to_chunks(x: Tensor, size: int) -> Tensor:
    """`(B, L, D)` -> `(D, B, G, C)`, with zeros behind the last element."""
    n_rows, length, d_model = x.shape
    n_chunks = max(1, -(-length // size))
    x = F.pad(x, (0, 0, 0, n_chunks * size - length)) if n_chunks * size > length else x
    chunks = _channels_first(x.reshape(n_rows * n_chunks, size, d_model))
    return torch.unflatten(chunks, 1, (n_rows, n_chunks))


def to_sequence(chunks: Tensor) -> Tensor:
    """`(D, B, G, C)` -> `(B, G * C, D)`."""
    d_model, n_rows, n_chunks, size = chunks.shape
    x = _time_first(chunks.flatten(1, 2))
    return x.view(n_rows, n_chunks * size, d_model)


class _ChannelsFirst(torch.autograd.Function):
    """`(N, C, D)` -> `(D, N, C)` with C contiguous in memory, as matrix products need it, in both passes."""

    @staticmethod
    @override
    def forward(x: Tensor) -> Tensor:
        return x.transpose(1, 2).contiguous().transpose(0, 1)

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    @override
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _time_first(grad)


class _TimeFirst(_ChannelsFirst):
    """Its inverse."""

    @staticmethod
    @override
    def forward(x: Tensor) -> Tensor:
        return x.permute(1, 2, 0).contiguous()

    @staticmethod
    @override
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _channels_first(grad)


def _channels_first(x: Tensor) -> Tensor:
    if transformed():
        return x.permute(2, 0, 1)
    return _ChannelsFirst.apply(x)  # type: ignore[no-untyped-call]


def _time_first(x: Tensor) -> Tensor:
    if transformed():
        return x.permute(1, 2, 0).contiguous()
    return _TimeFirst.apply(x)  # type: ignore[no-untyped-call]
