"""Edges between the elements of a batch, for sub-modules that need to know who is connected to whom."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Edges:
    """Directed edges between numbered places: elements of a flattened batch, or slots of `Elements`.

    Attributes:
        index: `(2, E)` long; where each edge starts, and where it ends: torch_geometric's `edge_index`.
        attributes: what is known of each edge, `(E, ...)`, by name.

    Example:
        >>> import torch
        >>> edges = Edges(torch.tensor([[0, 1, 2], [1, 2, 0]]))
        >>> edges.relabel(torch.tensor([0, -1, 1])).index.tolist()  # without place 1
        [[1], [0]]
    """

    index: Tensor
    attributes: Mapping[str, Tensor] = field(default_factory=dict)

    def relabel(self, number: Tensor) -> "Edges":
        """The edges between places that are kept, in the same order.

        Args:
            number: `(P,)` long; the new number of each place, -1 for one that is dropped.
        """
        index = number[self.index]
        kept = (index >= 0).all(0)
        return Edges(index[:, kept], {name: values[kept] for name, values in self.attributes.items()})
