"""Dealing out the rows of a batch to processes."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sma.training.tasks.task import IGNORED, Batch

if TYPE_CHECKING:
    from torch_geometric.data import Data


def deal(batch: Batch, rank: int, world: int) -> Batch:
    """The share of a batch that belongs to a rank: every `world`-th row, from row `rank` on.

    Of several graphs, each goes to one rank. A single graph cannot be divided, as every node may depend on
    any other: each rank gets all of it, and every `world`-th of its scored nodes as a target.

    Args:
        batch: of all ranks.
        rank: from 0 on.
        world: how many ranks there are.

    Raises:
        ValueError: if there are fewer rows than ranks.

    Example:
        >>> rows = torch.arange(10).view(5, 2)
        >>> deal(Batch(rows, rows), 1, 2).inputs
        tensor([[2, 3],
                [6, 7]])
    """
    if not isinstance(batch.inputs, Tensor | tuple):
        return _deal_graphs(batch, batch.inputs, rank, world)
    n_rows = len(batch.targets)
    if n_rows < world:
        raise _too_few(n_rows, world, "row")

    def own(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(own, value))
        return None if value is None else value[rank::world]

    return Batch(*map(own, (batch.inputs, batch.targets, batch.mask, batch.roles, batch.needs)))


def _deal_graphs(batch: Batch, data: "Data", rank: int, world: int) -> Batch:
    ptr = getattr(data, "ptr", None)
    if ptr is None or len(ptr) <= 2:
        places = (batch.targets != IGNORED).nonzero().squeeze(1)
        if len(places) < world:
            raise _too_few(len(places), world, "scored node")
        targets = torch.full_like(batch.targets, IGNORED)
        mine = places[rank::world]
        targets[mine] = batch.targets[mine]
        return Batch(data, targets)
    from torch_geometric.data import Batch as Graphs

    n_graphs = len(ptr) - 1
    if n_graphs < world:
        raise _too_few(n_graphs, world, "graph")
    chosen = range(rank, n_graphs, world)
    per_graph = len(batch.targets) == n_graphs != data.num_nodes
    targets = torch.cat(
        [
            batch.targets[i : i + 1] if per_graph else batch.targets[int(ptr[i]) : int(ptr[i + 1])]
            for i in chosen
        ]
    )
    return Batch(Graphs.from_data_list([data[i] for i in chosen]), targets)


def _too_few(n: int, world: int, what: str) -> ValueError:
    return ValueError(
        f"a batch of {n} {what}{'s' if n != 1 else ''} cannot be dealt out to {world} processes: one would "
        f"be without data; set batch_size to at least {world}, or start fewer processes (--nproc-per-node)"
    )
