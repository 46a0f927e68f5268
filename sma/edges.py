"""Edges between the elements of a batch, for sub-modules that need to know who is connected to whom."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sma.checks import describe


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

        Raises:
            ValueError: see `check_ends`.
        """
        check_ends(self.index, len(number), "edges.index")
        index = number[self.index]
        kept = (index >= 0).all(0)
        return Edges(index[:, kept], {name: values[kept] for name, values in self.attributes.items()})


def check_ends(index: Tensor, n_places: int, name: str) -> None:
    """Check the ends of edges.

    Raises:
        ValueError: if `index`, called `name`, is not `(2, E)` integers, or (on the CPU: elsewhere this would
            wait for the device) if one of them is not from 0 to `n_places` - 1.
    """
    whole = isinstance(index, Tensor) and index.dtype in (torch.int32, torch.int64)
    if not whole or index.dim() != 2 or len(index) != 2:
        raise ValueError(f"{name} must be (2, E) integers, torch.long, got {describe(index)}")
    if index.device.type == "cpu" and index.numel() and not torch.compiler.is_compiling():
        lowest, highest = map(int, index.aminmax())
        if lowest < 0 or highest >= n_places:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(
                f"{name} has an edge at {wrong}, which is not one of the {n_places} nodes, numbered from 0"
            )
