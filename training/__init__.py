"""Training: tasks (data), trainer, checkpoints, reports, and the `sma` command."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ == "training":
    raise ImportError(
        "import sma.training instead of training: the bare name is only its folder in the repository"
    )

if TYPE_CHECKING:
    from sma.training.config import TrainSpec
    from sma.training.evaluation import evaluate
    from sma.training.optimizers import OptimizerSpec
    from sma.training.run.errors import RunError
    from sma.training.run.folder import Run
    from sma.training.schedules import ScheduleSpec
    from sma.training.tasks.task import Batch, Evaluation, Task, TaskSpec
    from sma.training.train import resume, train
    from sma.training.trainer import Observer, Trainer

_HOMES = {
    "Batch": "tasks.task",
    "Evaluation": "tasks.task",
    "Observer": "trainer",
    "OptimizerSpec": "optimizers",
    "Run": "run.folder",
    "RunError": "run.errors",
    "ScheduleSpec": "schedules",
    "Task": "tasks.task",
    "TaskSpec": "tasks.task",
    "TrainSpec": "config",
    "Trainer": "trainer",
    "evaluate": "evaluation",
    "resume": "train",
    "train": "train",
}

__all__ = [
    "Batch",
    "Evaluation",
    "Observer",
    "OptimizerSpec",
    "Run",
    "RunError",
    "ScheduleSpec",
    "Task",
    "TaskSpec",
    "TrainSpec",
    "Trainer",
    "evaluate",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a part at the first use of a name of it: the command's help then needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
