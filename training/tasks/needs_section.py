"""The report's section on known needs: how well activations agree with the elements that answers need."""

import html
from itertools import islice

import torch
from torch import Tensor, nn

from sma.plots import ActivationMap
from sma.training.tasks.rows_section import read_rows
from sma.training.tasks.section import Section
from sma.training.tasks.task import Task

N_BATCHES = 8


def needs_section(task: Task, model: nn.Module) -> Section:
    """Per routed sub-module: its rate, and how its activations agree with the known needs.

    Precision is the share of activated elements that are needed, recall the share of needed ones that are
    activated.

    Args:
        task: whose batches have `needs`.
        model: gives scores of its batches.
    """
    found, needs = _activations(task, model)
    chance = float(needs.float().mean())
    lines = [
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td class=number>{value}</td>" for value in _agreement(active, needs))
        + "</tr>"
        for name, active in zip(found.names, found.active.unbind(-1), strict=True)
    ]
    body = (
        f"<p>{chance:.1%} of the elements are needed: those that ask, and those that hold what they ask "
        "for. A "
        "model without routed sub-modules reads all of them.</p>"
        "<table><tr><th>layer</th><th>activated</th><th>precision</th><th>recall</th></tr>"
        f"{''.join(lines)}</table>"
    )
    return Section("Activations against known needs", body)


def _activations(task: Task, model: nn.Module) -> tuple[ActivationMap, Tensor]:
    """The activations of elements of test rows, and which of them `(n,)` are needed."""
    maps: list[ActivationMap] = []
    needs = []
    for batch in islice(task.evaluation_batches("test", 16), N_BATCHES):
        if batch.needs is None:
            raise ValueError(f"the batches of {task.title} do not say which elements are needed")
        maps += read_rows(model, batch)[1]
        needs.append(batch.needs.flatten())
    return ActivationMap(torch.cat([each.active for each in maps]), maps[0].names), torch.cat(needs)


def _agreement(active: Tensor, needs: Tensor) -> tuple[str, str, str]:
    both = int((active & needs).sum())
    n_active, n_needed = int(active.sum()), int(needs.sum())
    precision = f"{both / n_active:.1%}" if n_active else "nothing activated"
    return f"{n_active / active.numel():.1%}", precision, f"{both / n_needed:.1%}"
