"""Notices of a run: how it can continue, and what is unusual about it; and the error that stops it."""

import math
from collections.abc import Sequence

from sma.training.config import TrainSpec
from sma.training.run.errors import RunError
from sma.training.run.folder import Run
from sma.training.run.position import Position
from sma.training.run.records import Ending


def nothing_left(run: Run, spec: TrainSpec, position: Position, ending: Ending) -> str:
    """That a run which is resumed has ended already, and how it can train on."""
    by_steps = spec.steps is not None and position.step >= spec.steps
    used_up = "steps" if by_steps else "operations"
    field = {"finished": used_up, "time limit": "time_limit"}.get(ending, "patience")
    return (
        f"the run ended at step {position.step}, so nothing is left to train: its best weights are tested "
        f"and its report is written anew; to train on: {run.resume} --set {field}=..., a higher one"
    )


def long_warmup(spec: TrainSpec) -> str | None:
    """That the warm-up is longer than the run; None if it is not."""
    if spec.steps is None or spec.schedule.warmup <= spec.steps:
        return None
    return (
        f"the warm-up is longer than the run (schedule.warmup={spec.schedule.warmup}, steps={spec.steps}), "
        f"so that the learning rate never reaches {spec.learning_rate:g}; set a lower schedule.warmup, or a "
        "share of the run, such as 0.05"
    )


def interrupted_graphs(reasons: Sequence[str]) -> str | None:
    """That a compiled step is not one graph; None if it is."""
    if not reasons:
        return None
    return (
        f"the compiled step is interrupted at {len(reasons)} place{'s' * (len(reasons) > 1)}, where it runs "
        f"without compilation; the first: {reasons[0][:200]}"
    )


def lost_lines(run: Run, position: Position, n_rows: int) -> str | None:
    """That metrics.jsonl has lost lines; None if it has not."""
    if n_rows >= position.n_rows:
        return None
    return (
        f"{run.path / 'metrics.jsonl'} lacks {position.n_rows - n_rows} of {position.n_rows} lines up to "
        f"step {position.step}, so that curves will have gaps; restore it from a copy if there is one"
    )


def lost_best(run: Run, position: Position) -> str | None:
    """That the best weights are gone; None if they are not."""
    if position.best_step is None or run.has_best:
        return None
    return (
        f"{run.best} is missing (the best weights were those of step {position.best_step}); the next "
        "validation writes it anew"
    )


def failure(run: Run, spec: TrainSpec, position: Position, what: str) -> RunError:
    """The error of a run whose numbers are not finite."""
    best = position.best_step
    kept = "" if best is None else f", the best ones (step {best}) in {run.best}"
    return RunError(
        f"{what}; the last good weights are kept in {run.last}{kept}; start again with a lower learning_rate "
        f"or clip: {run.again} --set learning_rate={spec.learning_rate / 3:.2g}"
    )


def not_finite(loss: float, norm: float) -> str | None:
    """Which of the numbers of a step is not finite; None if all are."""
    if math.isfinite(loss) and math.isfinite(norm):
        return None
    return f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
