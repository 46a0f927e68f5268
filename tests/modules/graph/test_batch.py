import pytest
import torch
from torch_geometric.data import Batch, Data

from sma import PackedCompaction
from sma.modules.graph.batch import NodeRows

D = 4


def random_graph(n_nodes: int, n_edges: int, *, seed: int) -> Data:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_nodes, D, generator=generator, dtype=torch.float64)
    return Data(x=x, edge_index=torch.randint(max(n_nodes, 1), (2, n_edges), generator=generator))


def graphs() -> list[Data]:
    sizes = ((6, 14), (1, 0), (4, 0), (9, 30))
    return [random_graph(n, e, seed=seed) for seed, (n, e) in enumerate(sizes)]


def test_spread_and_collect():
    data = Batch.from_data_list(graphs())
    rows = NodeRows.of(data)
    spread = rows.spread(data.x)
    assert spread.shape == (4, 9, D)
    assert rows.mask.sum(1).tolist() == [6, 1, 4, 9]
    assert torch.equal(spread[rows.mask], data.x)
    assert (spread[~rows.mask] == 0).all()
    assert torch.equal(rows.collect(spread), data.x)


def test_edges_keep_their_ends():
    data = Batch.from_data_list(graphs())
    rows = NodeRows.of(data)
    flat = rows.spread(data.x).flatten(0, 1)
    assert torch.equal(flat[rows.edges.index], data.x[data.edge_index])


def test_one_graph_needs_no_mask():
    data = random_graph(5, 8, seed=0)
    rows = NodeRows.of(data)
    assert rows.mask is None
    assert rows.shape == (1, 5)
    assert torch.equal(rows.edges.index, data.edge_index)


def test_a_batch_of_one_and_a_data_with_batch():
    data = Batch.from_data_list([random_graph(5, 8, seed=0)])
    assert NodeRows.of(data).shape == (1, 5)
    plain = Data(x=data.x, edge_index=data.edge_index, batch=torch.tensor([0, 0, 0, 1, 1]))
    assert NodeRows.of(plain).shape == (2, 3)


def test_graphs_without_nodes():
    empty = Data(x=torch.zeros(0, D, dtype=torch.float64), edge_index=torch.zeros(2, 0, dtype=torch.long))
    rows = NodeRows.of(Batch.from_data_list([empty, random_graph(2, 3, seed=0), empty]))
    assert rows.mask.sum(1).tolist() == [0, 2, 0]
    assert NodeRows.of(empty).shape == (1, 0)
    assert NodeRows.of(Batch.from_data_list([empty, empty])).shape == (2, 0)


@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        (None, "is missing; give a graph without edges"),
        ("abc", r"must be \(2, E\) integers, torch.long, got str"),
        (torch.zeros(2, 1), r"must be \(2, E\) integers, torch.long, got \(2, 1\) torch.float32"),
        (torch.zeros(2, 1, dtype=torch.bool), "must be .* got .* torch.bool"),
        (torch.zeros(3, 2, dtype=torch.long), r"must be .* got \(3, 2\)"),
        (torch.zeros(2, dtype=torch.long), r"must be .* got \(2,\)"),
        (torch.tensor([[0], [3]]), "has an edge at 3, which is not one of the 3 nodes, numbered from 0"),
        (torch.tensor([[-1], [2]]), "has an edge at -1, which is not one of the 3 nodes"),
    ],
)
@pytest.mark.parametrize("batch", [None, torch.zeros(3, dtype=torch.long)])
def test_refuses_an_edge_index_that_does_not_fit(edge_index, message, batch):
    data = Data(x=torch.zeros(3, D), edge_index=edge_index, batch=batch)
    with pytest.raises(ValueError, match=rf"data\.edge_index {message}"):
        NodeRows.of(data)


def test_short_integers():
    data = random_graph(5, 8, seed=0)
    short = Data(x=data.x, edge_index=data.edge_index.int())
    assert torch.equal(NodeRows.of(short).edges.index, data.edge_index)


def test_ends_on_a_device_are_not_looked_at():
    data = Data(x=torch.zeros(3, D), edge_index=torch.zeros(2, 5, dtype=torch.long)).to("meta")
    assert NodeRows.of(data).edges.index.shape == (2, 5)


def test_unsorted():
    data = Data(x=torch.zeros(3, D), batch=torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match=r"data\.batch is not sorted"):
        NodeRows.of(data)


def test_packed_elements_know_their_graph():
    data = Batch.from_data_list(graphs())
    rows = NodeRows.of(data)
    x = rows.spread(data.x)
    elements = PackedCompaction().compress(x, rows.mask)
    assert torch.equal(elements.row, data.batch)
    assert torch.equal(elements.ptr, data.ptr)
