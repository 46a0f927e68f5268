"""What is special to one layout; what holds for all is in tests/properties/test_mechanism.py."""

import pytest
import torch

from sma import SMA, CapacityCompaction, PackedCompaction, PaddedCompaction, Routing, record
from sma.testing import CausalMean, FixedRouter, oracle

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


@pytest.mark.parametrize(("capacity", "length", "slots"), [(3, 10, 3), (3, 2, 2), (0.5, 5, 3), (1.0, 7, 7)])
def test_slots_per_row(capacity, length, slots):
    assert CapacityCompaction(capacity).slots_per_row(length) == slots


def test_capacity_drops_the_last_and_records_it():
    active = torch.rand(3, 10, 1, generator=torch.Generator().manual_seed(0)) < 0.7
    routing = Routing(active, torch.rand(active.shape))
    x, module = torch.randn(3, 10, 4), CausalMean(4)
    layer = SMA(FixedRouter(routing), [module], compaction=CapacityCompaction(4))
    with record() as recording:
        y = layer(x)
    kept = active & (active.cumsum(1) <= 4)
    torch.testing.assert_close(y, oracle(x, Routing(kept, routing.confidence), [module]))
    assert recording.layers[0].overflow.item() == (active.sum() - kept.sum()).item() > 0


def test_capacity_can_be_strict():
    compaction = CapacityCompaction(2, strict=True)
    assert compaction.compress(X, ACTIVE & torch.tensor([T, T, T, F])).valid.sum() == 2
    with pytest.raises(ValueError, match=r"activates 3 elements, more than the 2 slots .* raise"):
        compaction.compress(X, ACTIVE)


@pytest.mark.parametrize("capacity", [0, -1, 0.0, 1.5])
def test_capacity_is_checked(capacity):
    with pytest.raises(ValueError, match=f"got {capacity}"):
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


def test_capacity_compiles_without_a_graph_break():
    compaction = CapacityCompaction(3)

    def run(x, active):
        elements = compaction.compress(x, active)
        return compaction.extract(elements.x * 2, elements, x.shape)

    compiled = torch.compile(run, backend="eager", fullgraph=True)
    assert torch.equal(compiled(X, ACTIVE), run(X, ACTIVE))
