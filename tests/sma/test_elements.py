import pytest
import torch
from hypothesis import given
from torch_geometric.utils import subgraph

from sma import CapacityCompaction, Edges, PackedCompaction, PaddedCompaction
from sma.elements import PackedRows
from sma.testing.strategies import layouts


def elements(compaction):
    x = torch.arange(8.0).view(2, 4, 1)
    return compaction.compress(x, torch.tensor([[True, False, True, False], [False, False, False, True]]))


def test_valid_and_n_rows():
    assert elements(PackedCompaction()).valid.tolist() == [True, True, True]
    padded = elements(CapacityCompaction(3))
    assert padded.valid.tolist() == [True, True, False, True, False, False]
    assert padded.n_rows == 2


def test_counts_leave_out_padding_slots():
    for compaction in (PackedCompaction(), PaddedCompaction(), CapacityCompaction(3)):
        assert elements(compaction).counts.tolist() == [2, 1]


def test_nothing_to_compute_without_slots_and_gradients():
    none = PackedCompaction().compress(torch.zeros(1, 2, 1), torch.zeros(1, 2, dtype=torch.bool))
    assert not none.nothing_to_compute
    with torch.no_grad():
        assert none.nothing_to_compute
        assert not elements(PackedCompaction()).nothing_to_compute


@pytest.mark.parametrize("active", [[True, False, True, True], [True] * 4, [False] * 4])
@pytest.mark.parametrize("compaction", [PackedCompaction(), PaddedCompaction(), CapacityCompaction(2)])
def test_take_reads_at_the_elements(compaction, active):
    flat = compaction.compress(torch.randn(2, 2, 1), torch.tensor(active).view(2, 2))
    values = torch.tensor([5, 6, 7, 8])
    want = [values[i].item() if v else 0 for i, v in zip(flat.index, flat.valid, strict=True)]
    assert flat.take(values).tolist() == want
    assert values.tolist() == [5, 6, 7, 8]


def test_with_x_keeps_the_slots():
    before = elements(PackedCompaction())
    after = before.with_x(torch.zeros(3, 5))
    assert after.x.shape == (3, 5)
    assert after.row is before.row
    assert before.x.shape == (3, 1)


@pytest.mark.parametrize("compaction", [PackedCompaction(), PaddedCompaction(), CapacityCompaction(3)])
def test_padded_batches_hold_the_elements_by_rank_or_by_time(compaction):
    x = torch.arange(1.0, 16.0).view(3, 5, 1)
    active = torch.tensor([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1]]).bool()
    flat = compaction.compress(x, active)
    by_rank, filled, place = flat.to_padded()
    spare = [0] * isinstance(compaction, CapacityCompaction)  # slots of the row, whatever the data
    assert by_rank.squeeze(-1).tolist() == [[2, 4, *spare], [0, 0, *spare], [11, 15, *spare]]
    assert filled.tolist() == [2, 0, 2]
    assert torch.equal(flat.from_padded(by_rank, place), flat.x)
    by_time, filled, place = flat.to_padded(flat.position)
    assert by_time.squeeze(-1).tolist() == [[0, 2, 0, 4, 0], [0] * 5, [11, 0, 0, 0, 15]]
    assert filled.tolist() == [4, 0, 5]
    assert torch.equal(flat.from_padded(by_time, place), flat.x)
    some, filled, place = flat.to_padded(rows=torch.tensor([2, 0]))
    assert some.squeeze(-1).tolist() == [[11, 15], [2, 4]]
    assert filled.tolist() == [2, 2]
    assert torch.equal(flat.from_padded(some, place), flat.x)


def test_padded_batches_of_nothing():
    for shape in ((0, 5, 2), (3, 0, 2), (2, 4, 2)):
        flat = PackedCompaction().compress(torch.zeros(shape), torch.zeros(shape[:2], dtype=torch.bool))
        batch, filled, place = flat.to_padded()
        assert batch.shape == (shape[0], 0, 2)
        assert filled.tolist() == [0] * shape[0]
        assert flat.from_padded(batch, place).shape == (0, 2)


def test_owner_counts_padding_slots():
    assert elements(PackedCompaction()).owner.tolist() == [0, 0, 1]
    assert elements(CapacityCompaction(3)).owner.tolist() == [0, 0, 0, 1, 1, 1]


def random_edges(n_places: int, n_edges: int) -> Edges:
    return Edges(torch.randint(n_places, (2, n_edges)), {"edge_type": torch.arange(n_edges)})


def test_relabel_is_the_induced_subgraph():
    torch.manual_seed(0)
    edges = random_edges(9, 40)
    kept = torch.tensor([True, False, True, True, False, True, False, False, True])
    number = torch.where(kept, kept.cumsum(0) - 1, -1)
    expected, attribute = subgraph(kept, edges.index, edges.attributes["edge_type"], relabel_nodes=True)
    relabelled = edges.relabel(number)
    assert torch.equal(relabelled.index, expected)
    assert torch.equal(relabelled.attributes["edge_type"], attribute)


def test_every_layout_gets_the_same_edges_between_its_slots():
    torch.manual_seed(1)
    x, active = torch.randn(3, 4, 2), torch.rand(3, 4) > 0.4
    edges = random_edges(12, 60)
    expected = [e for e in edges.index.T.tolist() if active.flatten()[e].all()]
    for compaction in (PackedCompaction(), PaddedCompaction(), CapacityCompaction(4)):
        elements = compaction.compress(x, active).with_edges(edges, 12)
        assert elements.edges is not None
        assert elements.valid[elements.edges.index].all()
        assert elements.index[elements.edges.index].T.tolist() == expected


def test_nothing_active_leaves_no_edges():
    x, active = torch.zeros(2, 3, 1), torch.zeros(2, 3, dtype=torch.bool)
    for compaction in (PackedCompaction(), PaddedCompaction(), CapacityCompaction(3)):
        elements = compaction.compress(x, active).with_edges(random_edges(6, 5), 6)
        assert elements.edges is not None
        assert elements.edges.index.shape == (2, 0)


def test_no_places_at_all():
    none = torch.zeros(0, dtype=torch.long)
    edges = Edges(torch.zeros(2, 0, dtype=torch.long))
    assert edges.relabel(none).index.shape == (2, 0)


def test_refuses_edges_that_do_not_fit():
    number = torch.arange(3)
    with pytest.raises(
        ValueError, match=r"edges\.index must be \(2, E\) integers, .*got \(2, 1\) torch.float32"
    ):
        Edges(torch.zeros(2, 1)).relabel(number)
    with pytest.raises(ValueError, match=r"edges\.index has an edge at 3, .* one of the 3 nodes"):
        Edges(torch.tensor([[0], [3]])).relabel(number)


@given(layout=layouts(max_padding=4))
def test_rows_are_packed_in_order_and_return_to_their_places(layout):
    rows, x = PackedRows.of(layout.real), layout.x(3, fill=torch.nan)
    want = [(b, x[b, t], int(layout.real[b, :t].sum())) for b, t in layout.real.nonzero().tolist()]
    packed = rows.pack(x)
    assert packed.shape == (1, len(want), 3)
    assert [tuple(pair) for pair in zip(rows.row.tolist(), rows.position.tolist(), strict=True)] == [
        (b, rank) for b, _, rank in want
    ]
    for got, (_, element, _) in zip(packed[0], want, strict=True):
        assert torch.equal(got, element)
    assert rows.counts.tolist() == layout.real.sum(1).tolist()
    assert torch.equal(rows.pad(packed), torch.where(layout.real[..., None], x, 0))


def test_gradients_of_packed_rows_reach_real_elements_only():
    mask = torch.tensor([[True, False, True], [False, True, False]])
    rows = PackedRows.of(mask)
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rows.pad(rows.pack(x).sin()), x)
    (grad,) = torch.autograd.grad(rows.pack(x).sum(), x)
    assert torch.equal(grad, mask[..., None].expand_as(x).to(grad))


@given(layout=layouts(max_padding=4))
def test_elements_of_packed_rows_are_those_of_the_batch(layout):
    rows, x = PackedRows.of(layout.real), layout.x(2)
    generator = torch.Generator().manual_seed(layout.seed)
    active = layout.real & (torch.rand(layout.shape, generator=generator) < 0.5)
    got = rows.assign(PackedCompaction().compress(rows.pack(x), rows.pack(active[..., None])[..., 0]))
    want = PackedCompaction().compress(x, active)
    assert torch.equal(got.x, want.x)
    assert torch.equal(got.row, want.row)
    assert torch.equal(got.ptr, want.ptr)
    ranks = (layout.real.cumsum(1) - 1).flatten()
    assert torch.equal(got.position, ranks[want.index])
    assert torch.equal(rows.index[got.index], want.index)


def test_groups_hold_rows_of_like_length():
    lengths = torch.tensor([3, 100, 0, 95, 50, 3, 45])
    mask = torch.arange(100) < lengths[:, None]
    rows, seen = PackedRows.of(mask), []
    x = torch.randn(1, int(lengths.sum()), 2, dtype=torch.float64, requires_grad=True)

    def double(batch, real):
        seen.append(real.sum(1).tolist())
        assert (batch[~real] == 0).all()
        return 2 * batch + 1

    y = rows.in_groups(double, x)
    assert torch.equal(y, 2 * x + 1)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.full_like(x, 2))
    assert seen == [[100, 95], [50, 45], [3, 3]]


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (2, 4)])
def test_packed_rows_without_elements(shape):
    rows = PackedRows.of(torch.zeros(shape, dtype=torch.bool))
    x = torch.ones(*shape, 3)
    assert rows.pack(x).shape == (1, 0, 3)
    assert (rows.pad(rows.pack(x)) == torch.zeros(*shape, 3)).all()
    assert rows.in_groups(lambda x, real: x, rows.pack(x)).shape == (1, 0, 3)
