"""Feed-forward parts of a transformers model behind a router."""

from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from sma.activation import SparseModularActivation
from sma.elements import Edges, Elements, PackedRows
from sma.routing import Router
from sma.sub_module import Pointwise
from sma.transformers.sparsification.selection import padding_mask


class RoutedFeedForward(SparseModularActivation):
    """A feed-forward that its tokens may skip: an SMA layer, whose mask is that of the model's call.

    Args:
        feed_forward: maps `(1, N, D)` to `(1, N, D)` token by token.
        router: of one module.
    """

    def __init__(self, feed_forward: nn.Module, router: Router) -> None:
        super().__init__(router, [OneRow(feed_forward)])

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        if mask is None and rows is None:
            mask = padding_mask(self.router)
        return super().forward(x, mask, edges, rows)


class OneRow(Pointwise):
    """A feed-forward that is called with the active tokens as one row, since some need `(B, L, D)`."""

    @override
    def forward(self, elements: Elements) -> Tensor:
        return self.module(elements.x.unsqueeze(0)).squeeze(0)

    @override
    def flops(self, n: int) -> int:
        return n * feed_forward_flops(self.module)


def feed_forward_flops(module: nn.Module) -> int:
    """Operations of one token: two per weight of every matrix, and of the experts that are chosen for it."""
    return sum(map(own_flops, module.modules()))


def own_flops(module: Any) -> int:
    """The same, of the weights of the module itself, and of its experts.

    Experts are those of transformers: stacked as `(E, D', D)`, with the number of chosen ones in the gate.
    """
    weights = [weight for weight in module.parameters(recurse=False) if weight.dim() == 2]
    chosen = getattr(getattr(module, "gate", None), "top_k", 0) if hasattr(module, "experts") else 0
    if chosen:
        weights += chosen * [weight[0] for weight in module.experts.parameters() if weight.dim() == 3]
    return 0 if isinstance(module, nn.Embedding) else sum(2 * weight.numel() for weight in weights)


class TwoMaps(nn.Module):
    """The two maps of a feed-forward whose residual connection is in the second, as in BERT.

    Args:
        intermediate: the first map, with its activation function.
        output: holds the second as `dense`.
    """

    def __init__(self, intermediate: nn.Module, output: Any) -> None:
        super().__init__()
        self.intermediate = intermediate
        self.output = nn.ModuleDict({"dense": output.dense})  # adapters find it as output.dense

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.output["dense"](self.intermediate(x))


class AddAndNorm(nn.Module):
    """The rest of that second part: dropout, the residual connection, and the norm.

    Args:
        output: the part.
    """

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.LayerNorm = output.LayerNorm
        self.dropout = output.dropout

    @override
    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(hidden_states) + input_tensor)
