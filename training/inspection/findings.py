"""The result of an inspection, as data: what the page shows and `--json` prints."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from sma.training.inspection.counterfactuals import Flip, Worth
from sma.training.inspection.decisions import Decisions
from sma.training.inspection.rates import Curve, Group
from sma.training.inspection.reader import Column
from sma.training.inspection.spans import Span
from sma.training.inspection.stability import Stability
from sma.training.inspection.subject import Subject
from sma.training.tasks.needs_section import Agreement
from sma.training.tasks.task import Batch

SHOWN = 2048
"""Elements of an example that are shown, and whose decisions may be flipped."""


@dataclass(frozen=True)
class Example:
    """One row, element by element, of which the first `SHOWN` are here.

    Attributes:
        number: of the row in its split.
        length: of the whole row.
        row_loss: that of all targets of the row together.
        texts: of each element.
        shades: of each pixel, from 0 to 1; None where the row is not a picture.
        active: of each routed module, whether each element activates it, as a string of 0 and 1.
        confidence: of each routed module, that of each element.
        loss: of the target at each element, None where there is none; None where the row has one target.
        roles: of each element, an index into the inspection's `role_names`; None if unknown.
        needed: whether an answer depends on each element; None if unknown.
        label: the class of the row; None where elements have targets.
        answer: the class that the model answers; None likewise.
        flips: of decisions about the row.
    """

    number: int
    length: int
    row_loss: float
    texts: list[str]
    shades: list[float] | None
    active: list[str]
    confidence: list[list[float]]
    loss: list[float | None] | None
    roles: list[int] | None
    needed: list[bool] | None
    label: int | None
    answer: int | None
    flips: list[Flip]

    @classmethod
    def of(
        cls,
        number: int,
        subject: Subject,
        row: Batch,
        decisions: Decisions,
        flips: list[Flip],
        answer: int | None,
        row_loss: float,
    ) -> "Example":
        """A row of a subject, and what was decided about it.

        Args:
            number: of the row in its split.
            subject: shows its elements.
            row: a batch of it alone.
            decisions: about the row alone.
            flips: of some of them.
            answer: the class that the model answers, for a row with one target.
            row_loss: that of the row.
        """
        assert isinstance(row.inputs, Tensor)
        inputs = row.inputs[0, :SHOWN]
        is_picture = subject.line is not None and inputs.dim() == 2 and inputs.shape[1] == 1
        loss, roles, needs = (
            None if each is None else each[:SHOWN].tolist()
            for each in (decisions.loss, decisions.roles, decisions.needs)
        )
        return cls(
            number,
            len(decisions),
            round(row_loss, 4),
            subject.element_texts(inputs),
            [round(value, 3) for value in inputs.float().clamp(0, 1).flatten().tolist()]
            if is_picture
            else None,
            ["".join(map(str, each)) for each in decisions.active[:SHOWN].int().T.tolist()],
            [[round(value, 3) for value in each] for each in decisions.confidence[:SHOWN].T.tolist()],
            None if loss is None else [None if value != value else round(value, 3) for value in loss],
            roles,
            needs,
            int(row.targets[0]) if answer is not None else None,
            answer,
            flips,
        )


@dataclass(frozen=True)
class Inspection:
    """What was measured of one model, and of others that differ in their seed.

    Attributes:
        runs: the folders; all but `stability` is about the first.
        task: a line that names the data.
        split: whose rows were read.
        unit: what results are given per.
        loss_unit: that of losses and gains, in the plural.
        loss_text: what the loss is.
        loss_place: whether the target of an element is after or at it.
        made_active: with what weight an element counts that a flip makes active, as a sentence.
        left_out: what cannot be measured, and why, as a sentence.
        n_rows: rows that rates are of.
        n_elements: their elements.
        columns: the routed modules.
        rates: of each of them, the share of elements that activate it.
        training: rates during training.
        positions: rates by position.
        roles: rates by role; empty where roles are unknown.
        losses: rates by the loss of the element's own target; empty where rows have one target.
        spans: of attention.
        needs: agreement with the known need, of each module and of any; empty where it is unknown.
        stability: over runs; empty for one run.
        worth: of decisions, by counterfactuals.
        role_names: what elements may be.
        classes: their names, where rows have one.
        line: elements per line of a picture; None where rows are not pictures.
        examples: some rows, with their flips.
    """

    runs: list[str]
    task: str
    split: str
    unit: str
    loss_unit: str
    loss_text: str
    loss_place: str
    made_active: str
    left_out: str
    n_rows: int
    n_elements: int
    columns: tuple[Column, ...]
    rates: list[float]
    training: Curve
    positions: list[Group]
    roles: list[Group]
    losses: list[Group]
    spans: list[Span]
    needs: list[Agreement]
    stability: list[Stability]
    worth: list[Worth]
    role_names: Sequence[str]
    classes: Sequence[str]
    line: int | None
    examples: list[Example]

    def values(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)

    def json(self) -> str:
        """All of it as JSON text."""
        return json.dumps(self.values(), allow_nan=False)


def agreements(decisions: Decisions) -> list[Agreement]:
    """How activations agree with the known need: of each routed module, and of any of several.

    What is compared with chooses elements at random, at the rate of each module and independently of others.
    """
    if decisions.needs is None:
        return []
    found = [
        Agreement.of(name, active, decisions.needs)
        for name, active in zip(decisions.names, decisions.active.unbind(1), strict=True)
    ]
    if len(found) > 1:
        missed = 1.0
        for each in found:
            missed *= 1 - each.rate
        found.append(Agreement.of("any", decisions.active.any(1), decisions.needs, 1 - missed))
    return found
