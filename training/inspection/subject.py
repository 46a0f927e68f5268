"""Subjects of an inspection: a model, and rows of elements that it reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sma.training.inspection.rates import Curve
from sma.training.inspection.reader import Column, Reader
from sma.training.tasks.task import Batch


def no_training(columns: Sequence[Column]) -> Curve:
    """Rates during training, where none were logged."""
    return Curve([], [])


@dataclass(frozen=True)
class Subject:
    """A model to inspect, and the rows that it is inspected on.

    Attributes:
        path: its folder.
        reader: of the model.
        title: one line that names the data.
        split: of which the rows are.
        unit: what results are given per, such as a byte.
        n_rows: that there are.
        pick: some of them, in the order of their numbers; a batch of one row each, without padding.
        element_texts: the elements of one row as a reader is shown them.
        role_names: what elements may be, where rows say it.
        classes: the name of each class, where a row has one.
        line: elements per line of a picture; None where rows are not pictures.
        training: the rates of routed modules during training.
        made_active: with what weight an element counts that a flip makes active, as a sentence.
        left_out: what cannot be measured here, and why, as a sentence.
    """

    path: Path
    reader: Reader
    title: str
    split: str
    unit: str
    n_rows: int
    pick: Callable[[Sequence[int]], list[Batch]]
    element_texts: Callable[[Tensor], list[str]]
    role_names: Sequence[str] = ()
    classes: Sequence[str] = ()
    line: int | None = None
    training: Callable[[Sequence[Column]], Curve] = no_training
    made_active: str = (
        "An element that is made active gets the weight that its router gives it, which is small where the "
        "router is sure of the opposite."
    )
    left_out: str = ""
