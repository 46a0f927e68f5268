"""Neighbour sampling: a part of a graph around some nodes, small enough to compute."""

from collections.abc import Sequence

import torch
from torch import Tensor


class NeighbourSampler:
    """Draws, for each node in question, a few of its neighbours, of those a few neighbours, and so on.

    GraphSAGE's sampling (https://arxiv.org/abs/1706.02216), uniformly and without replacement, in plain
    torch: torch_geometric's own needs compiled extensions.

    Args:
        edge_index: `(2, E)` long; messages go from the first row to the second.
        n_nodes: of the graph.
        sizes: neighbours per node and hop, outwards.

    Raises:
        ValueError: if there are no sizes, or one is below 1.

    Example:
        >>> star = torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0]])
        >>> sampler = NeighbourSampler(star, 5, sizes=[2])
        >>> nodes, edge_index = sampler.sample(torch.tensor([0]), torch.Generator().manual_seed(0))
        >>> len(nodes), edge_index.shape
        (3, torch.Size([2, 2]))
    """

    def __init__(self, edge_index: Tensor, n_nodes: int, *, sizes: Sequence[int]) -> None:
        if not sizes or min(sizes) < 1:
            raise ValueError(f"sizes are neighbours per hop, at least 1 each, got {list(sizes)}")
        starts, ends = edge_index
        self.sizes = tuple(sizes)
        self.neighbours = starts[ends.argsort(stable=True)]
        self.degree = ends.bincount(minlength=n_nodes)
        self.first = self.degree.cumsum(0) - self.degree

    def sample(self, nodes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the surroundings of some nodes.

        Args:
            nodes: `(k,)` long, none twice.
            generator: all randomness comes from it.

        Returns:
            All nodes drawn, ascending, `(n,)`; and the edges drawn, `(2, e)`, numbered by place in them.
        """
        seen, frontier, edges = nodes, nodes, []
        for size in self.sizes:
            drawn = self._draw(frontier, size, generator)
            edges.append(drawn)
            found = torch.unique(drawn[0])
            frontier = found[~torch.isin(found, seen)]
            seen = torch.cat((seen, frontier))
        seen = seen.sort().values
        return seen, torch.searchsorted(seen, torch.cat(edges, 1))

    def _draw(self, nodes: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Edges `(2, e)` to each of `nodes` from at most `size` neighbours."""
        degree = self.degree[nodes]
        owner = torch.arange(len(nodes)).repeat_interleave(degree)
        place = torch.arange(len(owner)) - (degree.cumsum(0) - degree)[owner]
        key = owner + torch.rand(len(owner), generator=generator, dtype=torch.float64)
        chosen = key.argsort()[place < size]  # the owners stay in order: place is the rank within each
        starts = self.neighbours[self.first[nodes][owner[chosen]] + place[chosen]]
        return torch.stack((starts, nodes[owner[chosen]]))
