"""The report's section on known needs: how well activations agree with the elements that answers need."""

from dataclasses import dataclass
from itertools import islice

import torch
from markupsafe import Markup
from torch import Tensor, nn

from sma.plots import ActivationMap
from sma.training.pages.rendering import part
from sma.training.tasks.rows_section import read_rows
from sma.training.tasks.section import Section
from sma.training.tasks.task import Task

N_BATCHES = 8


@dataclass(frozen=True)
class Agreement:
    """Activations of n elements against the known need, beside those of a random router.

    Attributes:
        name: of the sub-module, or of several together.
        rate: the share of elements that are activated.
        precision: the share of activated elements that are needed; None if nothing is activated.
        recall: the share of needed elements that are activated; None if nothing is needed.
        random_precision: what elements chosen at random have on average: the share of needed ones.
        random_recall: what as many elements chosen at random have on average.
    """

    name: str
    rate: float
    precision: float | None
    recall: float | None
    random_precision: float
    random_recall: float

    @classmethod
    def of(cls, name: str, active: Tensor, needs: Tensor, random_recall: float | None = None) -> "Agreement":
        """That of `active (n,)` with `needs (n,)`, both bool.

        Args:
            name: what is activated.
            active: whether an element is.
            needs: whether it ought to be.
            random_recall: of what is compared with; None: the rate of `active`.
        """
        both, n = int((active & needs).sum()), max(active.numel(), 1)
        n_active, n_needed = int(active.sum()), int(needs.sum())
        rate = n_active / n
        return cls(
            name,
            rate,
            both / n_active if n_active else None,
            both / n_needed if n_needed else None,
            n_needed / n,
            rate if random_recall is None else random_recall,
        )


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
    rows = [
        (name, *_agreement(Agreement.of(name, active, needs)))
        for name, active in zip(found.names, found.active.unbind(-1), strict=True)
    ]
    about = Markup(
        "<p>{:.1%} of the elements are needed: those that ask, and those that hold what they ask for. A "
        "model without routed sub-modules reads all of them.</p>"
    )
    body = about.format(chance) + part(
        "table", ["layer", "activated", "precision", "recall"], rows, numbers=3
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


def _agreement(found: Agreement) -> tuple[str, str, str]:
    precision = f"{found.precision:.1%}" if found.precision is not None else "nothing activated"
    return f"{found.rate:.1%}", precision, "-" if found.recall is None else f"{found.recall:.1%}"
