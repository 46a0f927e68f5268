"""Dealing out the rows of a batch: every target belongs to exactly one rank."""

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch as Graphs
from torch_geometric.data import Data

from sma.training import Batch
from sma.training.parallel.dealing import deal
from sma.training.tasks.task import IGNORED


def graph(n: int) -> Data:
    return Data(x=torch.arange(n).view(n, 1) + 10.0 * n, edge_index=torch.tensor([[0], [n - 1]]))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_row_goes_to_one_rank(world: int) -> None:
    rows = torch.arange(20).view(5, 4)
    mask = rows % 3 > 0
    shares = [deal(Batch((rows, -rows), rows[:, 0], (mask, ~mask), rows + 1), r, world) for r in range(world)]
    assert sorted(torch.cat([share.targets for share in shares]).tolist()) == [0, 4, 8, 12, 16]
    for share in shares:
        chosen = share.targets // 4
        assert torch.equal(share.inputs[0], rows[chosen])  # type: ignore[index]
        assert torch.equal(share.inputs[1], -rows[chosen])  # type: ignore[index]
        assert share.mask is not None
        assert torch.equal(share.mask[1], ~mask[chosen])
        assert share.roles is not None
        assert torch.equal(share.roles, rows[chosen] + 1)
        assert share.needs is None
    sizes = [len(share.targets) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("per_graph", [True, False])
def test_every_graph_goes_to_one_rank(per_graph: bool) -> None:
    graphs = [graph(n) for n in (3, 4, 2, 5)]
    data = Graphs.from_data_list(graphs)
    targets = torch.arange(4) if per_graph else torch.arange(14)
    shares = [deal(Batch(data, targets), rank, 3) for rank in range(3)]
    first = shares[0]
    assert torch.equal(first.inputs.x, torch.cat([graphs[0].x, graphs[3].x]))  # type: ignore[union-attr]
    assert torch.equal(first.inputs.edge_index, torch.tensor([[0, 3], [2, 7]]))  # type: ignore[union-attr]
    assert first.targets.tolist() == ([0, 3] if per_graph else [0, 1, 2, 9, 10, 11, 12, 13])
    assert sorted(torch.cat([share.targets for share in shares]).tolist()) == targets.tolist()


def test_of_one_graph_the_scored_nodes_are_dealt_out() -> None:
    targets = torch.tensor([7, IGNORED, 8, 9, IGNORED, 6])
    shares = [deal(Batch(graph(6), targets), rank, 2) for rank in range(2)]
    assert [share.targets.tolist() for share in shares] == [
        [7, IGNORED, IGNORED, 9, IGNORED, IGNORED],
        [IGNORED, IGNORED, 8, IGNORED, IGNORED, 6],
    ]
    assert all(share.inputs.num_nodes == 6 for share in shares)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("batch", "what"),
    [
        (Batch(torch.zeros(2, 5), torch.zeros(2)), "2 rows"),
        (Batch(Graphs.from_data_list([graph(3), graph(4)]), torch.zeros(7)), "2 graphs"),
        (Batch(graph(4), torch.tensor([IGNORED, 1, IGNORED, IGNORED])), "1 scored node"),
    ],
)
def test_a_rank_without_data_is_an_error(batch: Batch, what: str) -> None:
    message = rf"a batch of {what} cannot be dealt out to 3 processes: .* set batch_size to at least 3"
    with pytest.raises(ValueError, match=message):
        deal(batch, 0, 3)


def test_dealing_leaves_the_batch_as_it_was() -> None:
    targets: Tensor = torch.arange(5)
    deal(Batch(graph(5), targets), 0, 2)
    assert targets.tolist() == [0, 1, 2, 3, 4]
