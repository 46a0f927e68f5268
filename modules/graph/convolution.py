"""Graphs: a convolution over the sub-graph of the active nodes, and graphs as rows of nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.edges import Edges, check_ends
from sma.elements import Elements
from sma.sub_module import SubModule

if TYPE_CHECKING:  # torch_geometric takes 3 s to import, so functions that need it import it
    from torch_geometric.data import Data

_MIXING_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


class GraphConvolution(SubModule):
    r"""A graph convolution over the sub-graph of the active nodes.

    $$ f(h)_i = \text{convolution}\big(h_i, \{(h_j, e_{ji}) : j \to i,\ j \text{ active}\}\big) $$

    Inactive nodes send no message and count in no degree. Rows are graphs.

    Args:
        convolution: a `torch_geometric.nn.MessagePassing`, or any module called as
            `convolution(x, edge_index)`, that keeps the width. `named_convolution` makes one by name.
        edge_inputs: what else it reads of every edge, by the names in its `forward` and in `Data`, such as
            `edge_attr`, `edge_weight` or `edge_type`.
        init_scale: the result is multiplied by one learned number, which starts here; None for no factor.
            Routed convolutions want a small one, such as 0.1: a router meets an untrained convolution, and
            if its noise is loud, learns to skip it, after which nothing ever gets a gradient again.

    Raises:
        ValueError: if the convolution caches a graph, contains a norm over nodes, which would tie the graphs
            of a batch to each other, or is made for edge features that `edge_inputs` lacks.

    Example:
        >>> from sma import SMA, Edges
        >>> from sma.modules import LatentConfigurator, named_convolution
        >>> convolution = GraphConvolution(named_convolution(8, "GCNConv"))
        >>> layer = SMA(LatentConfigurator(8), [convolution])
        >>> triangle = Edges(torch.tensor([[0, 1, 2], [1, 2, 0]]))
        >>> layer(torch.randn(1, 3, 8), edges=triangle).shape
        torch.Size([1, 3, 8])
    """

    causal = False
    uses_edges = True

    def __init__(
        self, convolution: nn.Module, *, edge_inputs: Sequence[str] = (), init_scale: float | None = None
    ) -> None:
        super().__init__()
        name = type(convolution).__name__
        if getattr(convolution, "cached", False):
            raise ValueError(
                f"{name} has cached=True, but the sub-graph changes with every routing; unset it"
            )
        for part in convolution.modules():
            if isinstance(part, _MIXING_NORMS):
                raise ValueError(
                    f"{name} contains {type(part).__name__}, whose statistics run over the nodes of all "
                    "graphs; choose another norm for it, such as layer norm"
                )
        if getattr(convolution, "edge_dim", None) is not None and "edge_attr" not in edge_inputs:
            raise ValueError(
                f"{name} has edge_dim={convolution.edge_dim}, but edge_inputs={list(edge_inputs)} gives "
                "it no edge_attr; add it"
            )
        self.convolution = convolution
        self.edge_inputs = tuple(edge_inputs)
        self.scale = None if init_scale is None else nn.Parameter(torch.tensor([float(init_scale)]))

    @override
    def forward(self, elements: Elements) -> Tensor:
        """One convolution over the edges between active elements.

        Raises:
            ValueError: if there are no edges, no `edge_inputs`, or if the width changes.
        """
        if elements.edges is None:
            raise ValueError(
                "a graph convolution needs the edges between elements; use it in a graph_model, or pass "
                "edges to SparseModularActivation"
            )
        x, edges = elements.x, elements.edges
        if len(x) == 0:  # some convolutions fail on a graph without nodes
            x = torch.cat((x, x.new_zeros(1, x.shape[1])))
        inputs = {name: _edge_input(edges, name, x) for name in self.edge_inputs}
        result = self.convolution(x, edges.index, **inputs)
        if not isinstance(result, Tensor) or result.shape != x.shape:
            name = type(self.convolution).__name__
            given = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"{name} maps {tuple(x.shape)} to {given}; a sub-module keeps the shape")
        if self.scale is not None:
            result = result * self.scale.to(result)
        return result[: len(elements.x)]

    @override
    def flops(self, n: int) -> int:
        """Every matrix once per node. Sums over edges are not counted."""
        return n * sum(2 * p.numel() for p in self.convolution.parameters() if p.dim() == 2)


@dataclass(frozen=True)
class NodeRows:
    """The nodes of graphs as rows of elements: row b holds the nodes of graph b, padded to the largest graph.

    Attributes:
        shape: (B, L), the number of graphs and of nodes in the largest.
        place: `(n,)` long; where each node stands in the flattened `(B * L)` rows.
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
        position = torch.arange(len(batch), device=batch.device) - (sizes.cumsum(0) - sizes)[batch]
        mask = torch.arange(length, device=batch.device) < sizes[:, None]
        return cls._laid_out(data, (n_graphs, length), batch * length + position, mask)

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


def _edge_input(edges: Edges, name: str, x: Tensor) -> Tensor:
    if name not in edges.attributes:
        there = ", ".join(edges.attributes) or "none"
        raise ValueError(f"the convolution reads {name}, which the data lacks; it has of every edge: {there}")
    values = edges.attributes[name]
    return values.to(x.dtype) if values.is_floating_point() else values
