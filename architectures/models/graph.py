"""Graph models: torch_geometric `Data` in, scores of nodes or of whole graphs out; and their specs."""

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator
from torch import Tensor, nn
from typing_extensions import override

from sma import SequenceModule, naming, register
from sma.architectures.models.base import ComposedModel, ComposedModelSpec, check_builds
from sma.architectures.models.heads import ClassifierSpec
from sma.architectures.specs.families import HeadSpec
from sma.architectures.specs.fields import Dropout, Size
from sma.modules.functional import linear
from sma.modules.graph.batch import NodeRows
from sma.modules.norms import Norm

if TYPE_CHECKING:
    from torch_geometric.data import Data


class GraphModel(ComposedModel):
    """Embedding -> blocks -> norm -> head, over the nodes of graphs.

    Rows are graphs and elements are nodes, so blocks, routers, layouts and norms are those of sequences;
    parts that look at edges see those between the nodes that reach them. The result does not depend on the
    order of nodes as long as no part does: state-space models and windows read nodes as they are given.

    Graphs of a batch are padded to the largest. Batch graphs of similar size, or sample neighbourhoods.

    Args:
        spec: what it was built from; saved with the weights.
        embedding: `data.x` as rows to `(B, L, D)`.
        blocks: maps of `(B, L, D)`.
        norm: after the last block, or None.
        head: `(B, L, D)` to the result.

    Raises:
        ValueError: if the head predicts each element from those before it.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from sma.architectures import graph_network
        >>> spec = graph_network(d_model=16, n_layers=2, d_input=3, n_classes=5)
        >>> triangle = Data(x=torch.randn(3, 3), edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]))
        >>> spec.build()(triangle).shape
        torch.Size([3, 5])
    """

    spec: "GraphModelSpec"

    def __init__(
        self,
        spec: "GraphModelSpec",
        *,
        embedding: nn.Module,
        blocks: list[SequenceModule],
        norm: Norm | None,
        head: nn.Module,
    ) -> None:
        super().__init__(spec, embedding=embedding, blocks=blocks, norm=norm, head=head)
        _check_order(type(head).__name__, getattr(head, "needs_causal", spec.head.needs_causal))

    @override
    def forward(self, data: "Data | Tensor", edge_index: Tensor | None = None, **fields: Tensor) -> Tensor:
        """Embed, mix along edges, score.

        Args:
            data: a graph or a `Batch` of them, with what the embedding takes as `x`, and `edge_index`; or
                that `x` alone, and the rest as arguments, as torch_geometric's `Explainer` gives them.
            edge_index: `(2, E)` long, if `data` is `x`.
            **fields: further fields of the graph, such as `batch` and `edge_attr`, if `data` is `x`.

        Returns:
            From a head that scores elements `(n_nodes, C)`, in the order of `data.x`; from one that pools,
            `(n_graphs, C)`.

        Raises:
            ValueError: if the data has no `x`, no `edge_index` or one that does not fit, or lacks an edge
                input that a convolution reads.
        """
        if isinstance(data, Tensor):
            data = _graph(data, edge_index, fields)
        if not isinstance(getattr(data, "x", None), Tensor):
            raise ValueError("data.x is missing; give every node features, such as its degree or ones")
        with naming(self):
            rows = NodeRows.of(data)
            x = self.blocks(self.embedding(rows.spread(data.x), rows.mask), rows.mask, rows.edges)
            if self.norm is not None:
                x = self.norm(x, rows.mask)
            scores = self.head(x, rows.mask)
        return scores if scores.dim() == 2 else rows.collect(scores)


def _graph(x: Tensor, edge_index: Tensor | None, fields: dict[str, Tensor]) -> "Data":
    from torch_geometric.data import Data

    return Data(x=x, edge_index=edge_index, **fields)


def _check_order(head: str, needs_causal: bool) -> None:
    """Raise ValueError if a head needs elements in order."""
    if needs_causal:
        raise ValueError(
            f"{head} predicts each element from those before it, and nodes have no order; use node_classifier"
        )


class NodeClassifier(nn.Module):
    """Class scores of every element, from one linear layer.

    Args:
        d_model: D.
        n_classes: C.
        dropout: on its input.

    Example:
        >>> import torch
        >>> NodeClassifier(8, n_classes=10)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 10])
    """

    def __init__(self, d_model: int, *, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = linear(d_model, n_classes)

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`(B, L, D) -> (B, L, C)`."""
        return self.linear(self.dropout(x))


@register
class NodeClassifierSpec(HeadSpec):
    """Builds `NodeClassifier`."""

    kind: Literal["node_classifier"] = "node_classifier"
    n_classes: Size
    dropout: Dropout = 0.0

    @override
    def build(self, d_model: int, embedding: nn.Module) -> NodeClassifier:
        return NodeClassifier(d_model, n_classes=self.n_classes, dropout=self.dropout)


@register
class GraphModelSpec(ComposedModelSpec):
    """Builds `GraphModel`.

    Attributes:
        d_model: D, the width of everything between embedding and head.
        embedding: what reads `data.x`.
        blocks: the stack, from input to output.
        norm: after the last block.
        head: `node_classifier` for nodes, `classifier` for whole graphs (the mean of their nodes).
    """

    kind: Literal["graph_model"] = "graph_model"

    @model_validator(mode="after")
    def _check_head(self) -> "GraphModelSpec":
        _check_order(f"head {self.head.kind}", self.head.needs_causal)
        if isinstance(self.head, ClassifierSpec) and self.head.n_documents != 1:
            raise ValueError(
                f"head classifier with n_documents={self.head.n_documents} takes pairs; graphs come one by "
                "one, so set it to 1"
            )
        return self

    @model_validator(mode="after")
    def _check_builds(self) -> "GraphModelSpec":
        check_builds(self)
        return self

    @override
    def build(self) -> GraphModel:
        """The model, freshly initialised."""
        return GraphModel(self, **self._parts())
