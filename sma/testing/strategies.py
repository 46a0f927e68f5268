"""Hypothesis strategies: batches of rows, what is active in them, and how they arrive piece by piece."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from sma.compaction import CapacityCompaction, Compaction, PackedCompaction, PaddedCompaction
from sma.routing import Routing

Draw = Callable[[st.SearchStrategy[Any]], Any]
NAN = float("nan")


@dataclass(frozen=True)
class Layout:
    """The shape of a batch and the seed of its values; small enough to be read in a failure's report.

    Attributes:
        lengths: real elements per row; B = `len(lengths)`.
        padding: columns of padding beyond the longest row.
        left: whether padding stands before the real elements.
        holes: whether it stands between them, too: behind every other one, as far as there is padding.
        seed: of the values. A row's values depend on nothing but the seed and its number.

    Example:
        >>> layout = Layout((2, 1), padding=1)
        >>> layout.mask.int().tolist(), layout.x(4).shape
        ([[1, 1, 0], [1, 0, 0]], torch.Size([2, 3, 4]))
    """

    lengths: tuple[int, ...]
    padding: int = 0
    left: bool = False
    seed: int = 0
    holes: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """`(B, L)`."""
        return len(self.lengths), max(self.lengths, default=0) + self.padding

    @property
    def spans(self) -> list[Tensor]:
        """Per row, `(n,)` long: where its real elements stand."""
        width, spans = self.shape[1], []
        for n in self.lengths:
            place = torch.arange(n)
            if self.holes:
                place = place + (place // 2).clamp(max=width - n)
            spans.append(width - 1 - place.flip(0) if self.left else place)
        return spans

    @property
    def real(self) -> Tensor:
        """`(B, L)` bool, True = a real element."""
        real = torch.zeros(self.shape, dtype=torch.bool)
        for row, span in zip(real, self.spans, strict=True):
            row[span] = True
        return real

    @property
    def mask(self) -> Tensor | None:
        """`real`, or None where nothing is padding."""
        real = self.real
        return None if bool(real.all()) else real

    def x(self, d_model: int, *, fill: float = NAN, dtype: torch.dtype = torch.float64) -> Tensor:
        """`(B, L, d_model)`: normally distributed values, with `fill` at padding."""
        x = torch.full((*self.shape, d_model), fill, dtype=dtype)
        for b, (row, span) in enumerate(zip(x, self.spans, strict=True)):
            generator = torch.Generator().manual_seed(1000 * self.seed + b)
            values = torch.randn(self.lengths[b], d_model, generator=generator, dtype=torch.float64)
            row[span] = values.to(dtype)
        return x

    def rows(self, y: Tensor) -> list[Tensor]:
        """The real elements of every row of `y (B, L, ...)`."""
        return [row[span] for row, span in zip(y, self.spans, strict=True)]


@st.composite
def layouts(
    draw: st.DrawFn, *, min_rows: int = 0, max_rows: int = 3, max_length: int = 12, max_padding: int = 3
) -> Layout:
    """Batches of rows of different lengths and padding; empty rows and empty batches among them."""
    lengths = draw(st.lists(st.integers(0, max_length), min_size=min_rows, max_size=max_rows))
    if draw(st.booleans()):  # rows of one length, which need no mask
        lengths = lengths[:1] * len(lengths)
    padding, left = draw(st.integers(0, max_padding)), draw(st.booleans())
    return Layout(tuple(lengths), padding, left, seed=draw(st.integers(0, 99)), holes=draw(st.booleans()))


def degenerate_layouts() -> st.SearchStrategy[Layout]:
    """No rows, rows without elements, and rows of one element."""
    lengths = st.sampled_from([(), (0,), (1,), (0, 0), (1, 1), (1, 0), (0, 1, 0), (2,)])
    return st.builds(Layout, lengths, st.integers(0, 2), st.booleans(), st.integers(0, 99))


@st.composite
def activities(draw: st.DrawFn, layout: Layout, *, n_modules: int = 1) -> Tensor:
    """`active (B, L, M)` bool: in every row none, all, one or any of the real elements; never padding."""
    active = torch.zeros(*layout.shape, n_modules, dtype=torch.bool)
    for b, span in enumerate(layout.spans):
        for m in range(n_modules):
            active[b, span, m] = torch.tensor(draw(_activity(layout.lengths[b])), dtype=torch.bool)
    return active


@st.composite
def routings(draw: st.DrawFn, layout: Layout, *, n_modules: int = 1, inactive: float = NAN) -> Routing:
    """Routings over a layout; the confidence is a leaf that holds `inactive` where nothing is active."""
    active = draw(activities(layout, n_modules=n_modules))
    generator = torch.Generator().manual_seed(layout.seed)
    uniform = torch.rand(active.shape, generator=generator, dtype=torch.float64)
    return Routing(active, torch.where(active, uniform, inactive).requires_grad_())


def compactions() -> st.SearchStrategy[Compaction]:
    """Every layout, with a capacity that holds all elements."""
    return st.sampled_from(
        [PackedCompaction(), PaddedCompaction(), CapacityCompaction(1.0), CapacityCompaction(64)]
    )


@dataclass(frozen=True)
class Chunk:
    """A piece of some rows: row b's elements from `start[b]` on, `layout.lengths[b]` of them.

    Attributes:
        layout: the piece's shape and padding.
        start: per row, how many elements came before.
    """

    layout: Layout
    start: tuple[int, ...]

    def take(self, rows: Sequence[Tensor], *, fill: float = NAN) -> Tensor:
        """This piece of `rows`, one `(length, D)` each, as `(B, L, D)` with `fill` at padding."""
        x = rows[0].new_full((*self.layout.shape, rows[0].shape[-1]), fill)
        for b, span in enumerate(self.layout.spans):
            x[b, span] = rows[b][self.start[b] : self.start[b] + self.layout.lengths[b]]
        return x


@st.composite
def schedules(draw: st.DrawFn, lengths: tuple[int, ...], *, max_padding: int = 2) -> list[Chunk]:
    """Ways to feed rows of the given lengths: one by one, all at once, or in uneven pieces.

    In a piece every row has any number of elements, maybe none, padded on either side and between them.
    """
    if draw(st.booleans()):
        counts = [tuple(int(i < n) for n in lengths) for i in range(max(lengths, default=0))]
    else:
        n_cuts = draw(st.integers(0, 3))
        cuts = [sorted(draw(st.lists(st.integers(0, n), min_size=n_cuts, max_size=n_cuts))) for n in lengths]
        edges = [[0, *cut, n] for cut, n in zip(cuts, lengths, strict=True)]
        counts = [tuple(edge[i + 1] - edge[i] for edge in edges) for i in range(n_cuts + 1)]
    chunks, start = [], (0,) * len(lengths)
    for count in counts:
        padding, left, holes = draw(st.integers(0, max_padding)), draw(st.booleans()), draw(st.booleans())
        layout = Layout(count, padding, left, holes=holes)
        chunks.append(Chunk(layout, start))
        start = tuple(s + c for s, c in zip(start, count, strict=True))
    return chunks


def join(chunks: Sequence[Chunk], results: Sequence[Tensor]) -> Iterator[Tensor]:
    """The rows that results `(B, L, D)` of successive pieces make, without their padding."""
    pieces = [chunk.layout.rows(y) for chunk, y in zip(chunks, results, strict=True)]
    return (torch.cat(row) for row in zip(*pieces, strict=True))


def _activity(n: int) -> st.SearchStrategy[list[bool]]:
    some = st.lists(st.booleans(), min_size=n, max_size=n)
    if n == 0:
        return some
    one = st.integers(0, n - 1).map(lambda i: [j == i for j in range(n)])
    return st.one_of(st.just([False] * n), one, some, st.just([True] * n))
