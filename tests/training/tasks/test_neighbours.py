import pytest
import torch

from sma.training.tasks.neighbours import NeighbourSampler


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_edges(n_nodes: int, n_edges: int) -> torch.Tensor:
    return torch.randint(n_nodes, (2, n_edges), generator=generator()).unique(dim=1)


def test_large_sizes_give_the_whole_surroundings():
    edges = random_edges(30, 60)
    seeds = torch.tensor([4, 17, 2])
    nodes, drawn = NeighbourSampler(edges, 30, sizes=[30, 30]).sample(seeds, generator())
    reached, expected = set(seeds.tolist()), set()
    frontier = set(reached)
    for _ in range(2):
        step = {(i, j) for i, j in edges.T.tolist() if j in frontier}
        expected |= step
        frontier = {i for i, _ in step} - reached
        reached |= frontier
    assert nodes.tolist() == sorted(reached)
    assert sorted(nodes[drawn].T.tolist()) == sorted(list(pair) for pair in expected)


def test_draws_at_most_so_many_real_neighbours_and_none_twice():
    edges = random_edges(40, 500)
    nodes, drawn = NeighbourSampler(edges, 40, sizes=[3, 2]).sample(torch.tensor([5, 6, 7]), generator())
    pairs = [tuple(pair) for pair in nodes[drawn].T.tolist()]
    assert set(pairs) <= {tuple(pair) for pair in edges.T.tolist()}
    assert len(set(pairs)) == len(pairs)
    received = torch.tensor([end for _, end in pairs]).bincount(minlength=40)
    assert received[[5, 6, 7]].tolist() == [3, 3, 3]
    assert received.max() <= 3


def test_uniform():
    star = torch.stack((torch.arange(1, 11), torch.zeros(10, dtype=torch.long)))
    sampler = NeighbourSampler(star, 11, sizes=[3])
    counts, g = torch.zeros(11), generator()
    for _ in range(1000):
        nodes, _ = sampler.sample(torch.tensor([0]), g)
        counts[nodes] += 1
    assert counts[0] == 1000
    assert (counts[1:] - 300).abs().max() < 60  # 4 standard deviations


def test_repeatable():
    sampler = NeighbourSampler(random_edges(40, 500), 40, sizes=[3, 2])
    first, again, other = (sampler.sample(torch.arange(4), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not (first[1].shape == other[1].shape and torch.equal(first[1], other[1]))


def test_nodes_without_neighbours():
    sampler = NeighbourSampler(torch.zeros(2, 0, dtype=torch.long), 3, sizes=[2, 2])
    nodes, drawn = sampler.sample(torch.tensor([2, 0]), generator())
    assert nodes.tolist() == [0, 2]
    assert drawn.shape == (2, 0)


@pytest.mark.parametrize("sizes", [[], [3, 0]])
def test_refuses_sizes(sizes):
    with pytest.raises(ValueError, match="neighbours per hop, at least 1 each"):
        NeighbourSampler(random_edges(3, 3), 3, sizes=sizes)
