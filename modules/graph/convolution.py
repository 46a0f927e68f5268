"""A graph convolution over the sub-graph of the active nodes."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.elements import Edges, Elements
from sma.modules.functional import at_least_float32
from sma.sub_module import SubModule

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
            ValueError: if there are no edges, no `edge_inputs`, or if the width changes; or if
                torch_geometric's `Explainer` masks edges that the sub-graph of active nodes lacks.
        """
        if elements.edges is None:
            raise ValueError(
                "a graph convolution needs the edges between elements; use it in a graph_model, or pass "
                "edges to SparseModularActivation"
            )
        x, edges = elements.x, elements.edges
        if len(x) == 0:  # some convolutions fail on a graph without nodes
            x = torch.cat((x, x.new_zeros(1, x.shape[1])))
        self._check_edge_masks(edges.index.shape[1])
        inputs = {name: _edge_input(edges, name, x) for name in self.edge_inputs}
        result = self._convolve(x, edges.index, inputs)
        if not isinstance(result, Tensor) or result.shape != x.shape:
            name = type(self.convolution).__name__
            given = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"{name} maps {tuple(x.shape)} to {given}; a sub-module keeps the shape")
        if self.scale is not None:
            result = result * self.scale.to(result)
        return result[: len(elements.x)]

    def _check_edge_masks(self, n_edges: int) -> None:
        for part in self.convolution.modules():
            mask = getattr(part, "_edge_mask", None)
            if getattr(part, "explain", False) and mask is not None and len(mask) != n_edges:
                raise ValueError(
                    f"the edge mask of an explainer is for {len(mask)} edges, but a routed convolution sees "
                    f"the {n_edges} between active nodes; mask nodes instead (node_mask_type), or use the "
                    "router always"
                )

    def _convolve(self, x: Tensor, index: Tensor, inputs: dict[str, Tensor]) -> Any:
        """In float32 at least: degrees, and sums over many neighbours, overflow in half precision."""
        dtype = at_least_float32(x.dtype)
        if dtype == x.dtype:
            return self.convolution(x, index, **inputs)
        own = chain(self.convolution.named_parameters(), self.convolution.named_buffers())
        exact = {name: _in_dtype(tensor, dtype) for name, tensor in own}
        inputs = {name: _in_dtype(value, dtype) for name, value in inputs.items()}
        result = torch.func.functional_call(self.convolution, exact, (x.to(dtype), index), inputs)
        return result.to(x.dtype) if isinstance(result, Tensor) else result

    @override
    def flops(self, n: int) -> int:
        """Every matrix once per node. Sums over edges are not counted."""
        return n * sum(2 * p.numel() for p in self.convolution.parameters() if p.dim() == 2)


def _edge_input(edges: Edges, name: str, x: Tensor) -> Tensor:
    if name not in edges.attributes:
        there = ", ".join(edges.attributes) or "none"
        raise ValueError(f"the convolution reads {name}, which the data lacks; it has of every edge: {there}")
    return _in_dtype(edges.attributes[name], x.dtype)


def _in_dtype(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype) if values.is_floating_point() else values
