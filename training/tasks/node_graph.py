"""A graph whose nodes have classes and names, and batches of parts of it."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sma.training.tasks.neighbours import NeighbourSampler
from sma.training.tasks.task import IGNORED, Batch


class NodeGraph:
    """One graph, and what is known of its n nodes.

    Args:
        x: `(n, ...)`, what a model's embedding reads.
        edge_index: `(2, E)` long.
        classes: `(n,)` long.
        names: n; what pictures call the nodes.
        class_names: C; what a report calls the classes.
        sizes: neighbours per hop, see `NeighbourSampler`; None for the whole graph.
    """

    def __init__(
        self,
        x: Tensor,
        edge_index: Tensor,
        classes: Tensor,
        *,
        names: Sequence[str],
        class_names: Sequence[str],
        sizes: Sequence[int] | None = None,
    ) -> None:
        self.x, self.edge_index, self.classes = x, edge_index, classes
        self.names, self.class_names = names, class_names
        self.sampler = None if sizes is None else NeighbourSampler(edge_index, len(x), sizes=sizes)

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, nodes: Tensor, batch_size: int) -> Iterator[Batch]:
        """The surroundings of nodes, `(k,)`, in order; the same neighbours are drawn each time."""
        generator = torch.Generator().manual_seed(0)
        for part in torch.split(nodes, len(nodes) if self.sampler is None else batch_size):
            yield self.surroundings(part, generator)

    def surroundings(self, nodes: Tensor, generator: torch.Generator) -> Batch:
        """Some nodes, `(k,)`, and what is drawn around them; only these are scored.

        `n_id` of the inputs, `(n,)` ascending, says which nodes of the whole graph they hold.
        """
        from torch_geometric.data import Data

        if self.sampler is None:
            everything, edge_index = torch.arange(len(self.x)), self.edge_index
        else:
            everything, edge_index = self.sampler.sample(nodes, generator)
        targets = torch.full((len(everything),), IGNORED)
        places = torch.searchsorted(everything, nodes)
        targets[places] = self.classes[nodes]
        return Batch(Data(x=self.x[everything], edge_index=edge_index, n_id=everything), targets)
