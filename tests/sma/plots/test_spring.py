"""The layout by springs: equal to networkx's from the same start."""

import pytest
import torch

from sma.plots import spring
from sma.plots.spring import spring_layout

networkx = pytest.importorskip("networkx")


def graph(n, n_edges, seed):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(n, (2, n_edges), generator=generator)
    start = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    return edges, start


@pytest.mark.parametrize(("n", "n_edges"), [(2, 1), (7, 4), (30, 60), (12, 0)])
def test_it_is_that_of_networkx(n, n_edges, monkeypatch):
    monkeypatch.setattr(spring, "_AT_ONCE", 3 * n)  # several parts
    edges, start = graph(n, n_edges, n)
    theirs = networkx.Graph()
    theirs.add_nodes_from(range(n))
    theirs.add_edges_from(edges.T.tolist())
    places = networkx.spring_layout(theirs, pos=dict(enumerate(start.numpy())), seed=0)
    expected = torch.tensor([places[i].tolist() for i in range(n)])
    torch.testing.assert_close(spring_layout(edges, n, start=start), expected, atol=1e-4, rtol=1e-4)


def test_it_is_the_same_each_time_and_fills_the_square():
    edges, _ = graph(20, 30, 0)
    places = spring_layout(edges, 20)
    torch.testing.assert_close(places, spring_layout(edges.flip(0), 20))
    assert places.abs().max() == 1


def test_few_nodes_and_equal_places():
    assert spring_layout(torch.zeros(2, 0, dtype=torch.long), 0).shape == (0, 2)
    assert spring_layout(torch.zeros(2, 1, dtype=torch.long), 1).tolist() == [[0, 0]]
    same = torch.zeros(3, 2)
    assert spring_layout(torch.tensor([[0], [1]]), 3, start=same).isfinite().all()
