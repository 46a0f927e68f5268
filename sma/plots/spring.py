"""The layout of a graph by springs."""

import torch
from torch import Tensor

_STEPS = 50
_LEAST = 0.01
"""Distances and forces count as at least so much."""
_AT_ONCE = 2**22
"""Pairs of nodes that are in memory at a time."""


def spring_layout(edges: Tensor, n: int, *, start: Tensor | None = None) -> Tensor:
    r"""Places of nodes: edges pull their ends together, and all nodes push one another away.

    Node i moves along

    $$ \sum_j d_{ij} \left(\frac{k^2}{\lVert d_{ij} \rVert^2} - A_{ij} \frac{\lVert d_{ij} \rVert}{k}\right),
    \qquad d_{ij} = x_i - x_j, \quad k = 1/\sqrt n, $$

    by a length that falls from a tenth of the extent to 0 in 50 steps (Fruchterman and Reingold,
    https://doi.org/10.1002/spe.4380211102, as networkx does it). Time grows with n^2.

    Args:
        edges: `(2, E)` long, in either direction or both.
        n: the number of nodes.
        start: `(n, 2)`, where they are at first. None: at random, the same places each time.

    Returns:
        `(n, 2)`, in [-1, 1], around 0.

    Example:
        >>> line = spring_layout(torch.tensor([[0, 1], [1, 2]]), 3)
        >>> (line[0] - line[2]).norm() > (line[0] - line[1]).norm()
        tensor(True)
    """
    if start is None:
        start = torch.rand(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if n < 2:
        return torch.zeros(n, 2)
    x, k = start.double(), n**-0.5
    both = torch.unique(torch.cat([edges, edges.flip(0)], 1), dim=1)
    most = 0.1 * float((x.amax(0) - x.amin(0)).max())
    for step in range(_STEPS):
        force = torch.cat([_pushed(part, x, k) for part in torch.split(x, max(_AT_ONCE // n, 1))])
        apart = x[both[0]] - x[both[1]]
        force.index_add_(0, both[0], -apart * _length(apart) / k)
        move = force * (most * (1 - step / (_STEPS + 1)) / _length(force))
        x = x + move
        if float(move.norm()) / n < 1e-4:
            break
    x = x - x.mean(0)
    return (x / x.abs().max().clamp_min(1e-12)).float()


def _pushed(part: Tensor, x: Tensor, k: float) -> Tensor:
    """How all nodes push some of them."""
    apart = part[:, None] - x
    return (apart * (k / _length(apart)).square()).sum(1)


def _length(vectors: Tensor) -> Tensor:
    return vectors.norm(dim=-1, keepdim=True).clamp_min(_LEAST)
