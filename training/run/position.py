"""Where a run stands."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

Natural = Annotated[int, Field(ge=0, lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        step: steps done.
        elapsed: seconds spent.
        validating: those of them that validations took.
        operations: forward operations of all steps, see `OperationCount`; 0 where they are not counted.
        n_real: real elements that all steps read.
        best_step: the step of the best validation; None before the first.
        best_loss: its loss.
        stale: validations since the best one.
        validated: the step of the newest validation; None before the first.
        n_rows: lines of metrics.jsonl so far.
        pending: of each step since the last logged line, the loss and the cross-entropy in it.
    """

    step: Natural = 0
    elapsed: Finite = 0.0
    validating: Finite = 0.0
    operations: Natural = 0
    n_real: Natural = 0
    best_step: Natural | None = None
    best_loss: Finite | None = None
    validated: Natural | None = None
    stale: Natural = 0
    n_rows: Natural = 0
    pending: tuple[tuple[Finite, Finite], ...] = ()

    def at(self, **changes: Any) -> "Position":
        """A copy with some fields changed."""
        return replace(self, **changes)

    def is_best(self, loss: float) -> bool:
        """Whether no validation had a loss as low as this one."""
        return self.best_loss is None or loss < self.best_loss

    def after_validation(self, loss: float, elapsed: float) -> "Position":
        """The position after a validation with such a loss, when the run has taken so many seconds."""
        best = {"best_step": self.step, "best_loss": loss, "stale": 0}
        return self.at(
            **(best if self.is_best(loss) else {"stale": self.stale + 1}),
            elapsed=elapsed,
            validated=self.step,
            validating=self.validating + elapsed - self.elapsed,
        )
