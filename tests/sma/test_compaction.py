"""Tests of single layouts; tests/properties/test_mechanism.py tests what holds for all."""

import math
from itertools import product

import pytest
import torch
from torch import nn

from sma import SMA, CapacityCompaction, PackedCompaction, PaddedCompaction, Pointwise, Routing, record
from sma.modules import GAU, ExpertChoiceRouter
from sma.testing import CausalMean, FixedRouter, InputRouter, Layout, SequenceModuleContract, oracle

T, F = True, False
X = torch.arange(8.0).view(2, 4, 1)
ACTIVE = torch.tensor([[T, F, T, T], [F, F, F, T]])


def rows(elements):
    return elements.row.tolist(), elements.position.tolist(), elements.ptr.tolist()


def test_packed_has_no_padding():
    assert rows(PackedCompaction().compress(X, ACTIVE)) == ([0, 0, 0, 1], [0, 2, 3, 3], [0, 3, 4])


def test_padded_is_as_wide_as_the_fullest_row():
    expected = [0, 0, 0, 1, -1, -1], [0, 2, 3, 3, 0, 0], [0, 3, 6]
    assert rows(PaddedCompaction().compress(X, ACTIVE)) == expected


def test_padded_agrees_with_torch_geometric():
    from torch_geometric.utils import to_dense_batch

    packed, padded = PackedCompaction().compress(X, ACTIVE), PaddedCompaction().compress(X, ACTIVE)
    dense, valid = to_dense_batch(packed.x, packed.row)
    assert torch.equal(padded.x.view_as(dense), dense)
    assert torch.equal(padded.valid.view_as(valid), valid)


def test_capacity_has_static_shapes():
    for active in (ACTIVE, torch.zeros_like(ACTIVE), torch.ones_like(ACTIVE)):
        assert CapacityCompaction(2).compress(X, active).x.shape == (4, 1)


@pytest.mark.parametrize(
    ("capacity", "length", "slots"),
    [(3, 10, 3), (3, 2, 2), (10**30, 2, 2), (0.5, 5, 3), (1.0, 7, 7), (0.07, 100, 7)],
)
def test_slots_per_row(capacity, length, slots):
    compaction = CapacityCompaction(capacity)
    assert compaction.slots_per_row(length) == slots
    assert compaction.limit(torch.ones(1, length, 1, dtype=torch.bool)).sum() == slots


class Overflowing(SequenceModuleContract):
    """A layer whose rows activate more elements than their capacity."""

    capacity = 2

    def make(self):
        parts = [CausalMean(self.d_model), Pointwise(nn.Linear(self.d_model, self.d_model))]
        return SMA(InputRouter(2), parts, compaction=CapacityCompaction(self.capacity))


class TestOverflowingNumber(Overflowing):
    pass


class TestOverflowingShare(Overflowing):
    capacity = 0.3


class TestOverflowingHalf(Overflowing):
    capacity = 0.5


class TestOverflowingBidirectionalLayer(SequenceModuleContract):
    """A router that looks at the whole row, and elements that see later ones: the rule is the same."""

    jumps = True

    def make(self):
        router = ExpertChoiceRouter(self.d_model, n_modules=1, capacity=0.8)
        gau = GAU(self.d_model, d_qk=4, window=2, bidirectional=True)
        return SMA(router, [gau], compaction=CapacityCompaction(0.4))


def kept_by_a_loop(active, mask, capacity):
    """The part of `active (B, L, M)` that the definition keeps, element by element."""
    kept = torch.zeros_like(active)
    for b, m in product(range(active.shape[0]), range(active.shape[2])):
        n_real = n_kept = 0
        for t in range(active.shape[1]):
            n_real += int(mask[b, t])
            limit = capacity if isinstance(capacity, int) else math.ceil(round(capacity * n_real, 9))
            kept[b, t, m] = active[b, t, m] and n_kept < limit
            n_kept += int(kept[b, t, m])
    return kept


CAPACITIES = [1, 4, 12, 0.07, 0.25, 0.5, 0.75, 1 / 3, 1.0]


@pytest.mark.parametrize("left", [False, True], ids=["right padding", "left padding"])
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_overflow_is_dropped_and_recorded(capacity, left):
    layout = Layout((12, 7, 0, 1), padding=3, left=left)
    mask = layout.real
    active = (torch.rand(*layout.shape, 2) < 0.8) & mask[..., None]
    routing = Routing(active, torch.rand(active.shape, dtype=torch.float64))
    modules = [CausalMean(4).double() for _ in range(2)]
    layer = SMA(FixedRouter(routing), modules, compaction=CapacityCompaction(capacity))
    x = layout.x(4)
    with record() as recording:
        y = layer(x, mask)
    kept = kept_by_a_loop(active, mask, capacity)
    assert torch.equal(layer.compaction.limit(active, mask), kept)
    expected = oracle(torch.where(mask[..., None], x, 0), Routing(kept, routing.confidence), modules, mask)
    torch.testing.assert_close(y, expected)
    assert torch.equal(recording.layers[0].overflow, (active & ~kept).sum((0, 1)))


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_limit_in_pieces_is_that_of_whole_rows(capacity):
    compaction = CapacityCompaction(capacity)
    active = torch.rand(3, 20, 2) < 0.7
    whole, state = compaction.limit(active), compaction.init_state(3, 2)
    pieces = active.split([7, 1, 0, 1, 11], 1)
    assert torch.equal(torch.cat([compaction.limit(piece, None, state) for piece in pieces], 1), whole)
    x = torch.randn(3, 11, 4)
    assert compaction.piece.compress(x, whole[:, 9:, 0]).valid.sum() == whole[:, 9:, 0].sum()


def test_capacity_can_be_strict():
    compaction = CapacityCompaction(2, strict=True)
    assert compaction.compress(X, ACTIVE & torch.tensor([T, T, T, F])).valid.sum() == 2
    with pytest.raises(ValueError, match=r"row 0 activates 3 elements .* capacity 2 holds 2 .* raise"):
        compaction.compress(X, ACTIVE)


@pytest.mark.parametrize("capacity", [0, -1, 0.0, 1.5, float("nan"), float("inf")])
def test_capacity_is_checked(capacity):
    with pytest.raises(ValueError, match=f"got {capacity}"):
        CapacityCompaction(capacity)


@pytest.mark.parametrize("capacity", [True, "0.5", None])
def test_capacity_is_a_number(capacity):
    with pytest.raises(TypeError, match=f"capacity={capacity!r} must be"):
        CapacityCompaction(capacity)


@pytest.mark.parametrize("compaction", [PackedCompaction(), PaddedCompaction(), CapacityCompaction(2)])
@pytest.mark.parametrize("active", [ACTIVE.int(), ACTIVE[:1], ACTIVE[..., None]])
def test_shapes_are_checked(compaction, active):
    with pytest.raises(ValueError, match=r"compress takes x \(B, L, D\) and active \(B, L\) bool"):
        compaction.compress(X, active)


def test_extract_takes_another_width():
    elements = PackedCompaction().compress(X, ACTIVE)
    y = PackedCompaction().extract(torch.ones(4, 3), elements, (2, 4, 3))
    assert torch.equal(y, ACTIVE[..., None].expand(2, 4, 3).float())


@pytest.mark.parametrize("capacity", [3, 0.4])
def test_capacity_compiles_without_a_graph_break(capacity):
    compaction = CapacityCompaction(capacity)

    def run(x, active):
        elements = compaction.compress(x, active)
        return compaction.extract(elements.x * 2, elements, x.shape)

    compiled = torch.compile(run, backend="eager", fullgraph=True)
    assert torch.equal(compiled(X, ACTIVE), run(X, ACTIVE))
