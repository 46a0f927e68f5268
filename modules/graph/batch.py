"""Graphs as rows of nodes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sma.elements import Edges, check_ends

if TYPE_CHECKING:  # torch_geometric takes 3 s to import, so functions that need it import it
    from torch_geometric.data import Data


@dataclass(frozen=True)
class NodeRows:
    """The nodes of graphs as rows of elements: row b holds the nodes of graph b, padded to the largest graph.

    Attributes:
        shape: (B, L), the number of graphs and of nodes in the largest.
        place: `(n,)` long; the index of each node in the flattened `(B * L)` rows.
        mask: `(B, L)` bool, True = a node; None where there is one graph only.
        edges: between places, with every `edge_*` tensor of the data as attribute that has an entry per edge.

    Example:
        >>> from torch_geometric.data import Batch, Data
        >>> alone = Data(x=torch.ones(3, 1), edge_index=torch.zeros(2, 0, dtype=torch.long))
        >>> path = Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0], [1]]))
        >>> rows = NodeRows.of(Batch.from_data_list([alone, path]))
        >>> rows.shape, rows.mask.sum(1).tolist(), rows.edges.index.T.tolist()
        ((2, 3), [3, 2], [[3, 4]])
    """

    shape: tuple[int, int]
    place: Tensor
    mask: Tensor | None
    edges: Edges

    @classmethod
    def of(cls, data: "Data") -> "NodeRows":
        """Lay out the graphs of a `Data` or `Batch`.

        Raises:
            ValueError: if the nodes of a graph do not stand together, or if there is no `edge_index`, or one
                that does not fit (see `check_ends`).
        """
        batch = getattr(data, "batch", None)
        if batch is None:
            n_nodes = data.num_nodes or 0
            return cls._laid_out(data, (1, n_nodes), torch.arange(n_nodes, device=_device(data)), None)
        if bool((batch[1:] < batch[:-1]).any()):
            raise ValueError("data.batch is not sorted; put the nodes of each graph together, as Batch does")
        n_graphs = int(data.num_graphs) if hasattr(data, "num_graphs") else int(batch.max()) + 1
        sizes = batch.bincount(minlength=n_graphs)
        length = int(sizes.max())
        mask = torch.arange(length, device=batch.device) < sizes[:, None]
        return cls._laid_out(data, (n_graphs, length), mask.flatten().nonzero().squeeze(1), mask)

    @classmethod
    def _laid_out(
        cls, data: "Data", shape: tuple[int, int], place: Tensor, mask: Tensor | None
    ) -> "NodeRows":
        if data.edge_index is None:
            raise ValueError(
                "data.edge_index is missing; give a graph without edges torch.zeros(2, 0, dtype=torch.long)"
            )
        check_ends(data.edge_index, len(place), "data.edge_index")
        n_edges = data.edge_index.shape[1]
        attributes = {
            key: value
            for key, value in data.to_dict().items()
            if key.startswith("edge_") and key != "edge_index"
            if isinstance(value, Tensor) and value.shape[:1] == (n_edges,)
        }
        return cls(shape, place, mask, Edges(place[data.edge_index], attributes))

    def spread(self, values: Tensor) -> Tensor:
        """Values of nodes `(n, ...)` as rows `(B, L, ...)`; 0 at padding."""
        flat = values.new_zeros(self.shape[0] * self.shape[1], *values.shape[1:])
        return flat.index_copy(0, self.place, values).view(*self.shape, *values.shape[1:])

    def collect(self, values: Tensor) -> Tensor:
        """Rows `(B, L, ...)` as values of nodes `(n, ...)`, in the data's order."""
        return values.flatten(0, 1).index_select(0, self.place)


def _device(data: "Data") -> torch.device | None:
    return next((value.device for value in data.to_dict().values() if isinstance(value, Tensor)), None)
