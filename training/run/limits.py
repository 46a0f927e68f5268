"""The limits of a run: whether one is reached, the share that lies behind, and what is due between steps."""

from sma.training.config import TrainSpec
from sma.training.run.position import Position
from sma.training.run.records import Ending


def reached(spec: TrainSpec, position: Position) -> Ending | None:
    """How a run ends that stands there; None while it goes on."""
    if spec.steps is not None and position.step >= spec.steps:
        return "finished"
    if spec.operations is not None and position.operations >= spec.operations:
        return "finished"
    if spec.time_limit is not None and position.elapsed >= spec.time_limit:
        return "time limit"
    if spec.patience is not None and position.stale >= spec.patience:
        return "stopped early"
    return None


def progress(spec: TrainSpec, position: Position) -> float:
    """The share of a run that is done, by whichever of steps, operations and time is nearest to its end."""
    spent = (
        (position.step, spec.steps),
        (position.operations, spec.operations),
        (position.elapsed, spec.time_limit),
    )
    return min(max(now / end for now, end in spent if end is not None), 1.0)


def planned_progress(spec: TrainSpec, position: Position) -> float:
    """The share that schedules follow: by steps or operations alone if either is limited: repeatable."""
    if spec.steps is not None:
        return position.step / spec.steps
    if spec.operations is not None:
        return min(position.operations / spec.operations, 1.0)
    assert spec.time_limit is not None  # the spec checks it
    return position.elapsed / spec.time_limit


def checkpoint_is_due(spec: TrainSpec, position: Position) -> bool:
    """Whether a checkpoint is written now that so many steps are done."""
    interval = spec.checkpoint_interval
    return interval is not None and position.step > 0 and position.step % interval == 0


def validation_is_due(spec: TrainSpec, position: Position) -> bool:
    """Whether the model is validated now that so many steps are done; once only."""
    step = position.step
    is_reached = step % spec.validation_interval == 0 or step == spec.steps
    return is_reached and step not in (0, position.validated)
