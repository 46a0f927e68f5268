"""Sparse modular activation by its definition: row by row, sub-module by sub-module, on explicit loops."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sma.elements import Elements
from sma.routing import Routing
from sma.sub_module import SubModule


def oracle(
    x: Tensor, routing: Routing, sub_modules: Sequence[SubModule], mask: Tensor | None = None
) -> Tensor:
    r"""Compute the result of `SparseModularActivation` without any compaction.

    $$ y_t = \sum_{m:\, a_t^m = 1} c_t^m\, f_m(h \text{ restricted to the elements active for } m)_t $$

    Each sub-module runs on the active elements of one row at a time, as a batch of their own.

    Args:
        x: `(B, L, D)`.
        routing: the decisions.
        sub_modules: the M functions.
        mask: `(B, L)` bool, True = a real element; positions count a row's real elements.

    Returns:
        `(B, L, D)`.

    Example:
        >>> from sma import Pointwise
        >>> x = torch.ones(1, 3, 2)
        >>> active = torch.tensor([[[True], [False], [True]]])
        >>> routing = Routing(active, torch.full((1, 3, 1), 0.5))
        >>> oracle(x, routing, [Pointwise(torch.nn.Identity())]).sum(-1)
        tensor([[1., 0., 1.]])
    """
    rows = []
    for b in range(len(x)):
        results: list[Tensor] = [torch.zeros_like(x[b, t]) for t in range(x.shape[1])]
        position = list(range(x.shape[1])) if mask is None else positions(mask[b])
        for m, module in enumerate(sub_modules):
            places = [t for t in range(x.shape[1]) if routing.active[b, t, m]]
            y = module(alone(x[b, places], [position[t] for t in places]))
            for i, t in enumerate(places):
                results[t] = results[t] + routing.confidence[b, t, m] * y[i]
        rows.append(torch.stack(results) if results else x[b])
    return torch.stack(rows) if rows else x.clone()


def alone(x: Tensor, at: Sequence[int]) -> Elements:
    """The elements of a single row, `x (T, D)`, at their positions, as `Elements`."""
    place = torch.tensor(at, dtype=torch.long)
    return Elements(x, torch.zeros_like(place), place, place, torch.tensor([0, len(x)]))


def positions(mask: Tensor) -> list[int]:
    """For every element of `mask (L,)`, how many real ones stand before it."""
    return [int(mask[:t].sum()) for t in range(len(mask))]
