"""Training: tasks (data), trainer, checkpoints, reports, and the `sma` command."""

from typing import TYPE_CHECKING

from sma.lazy import lazy_names

if __name__ == "training":
    raise ImportError(
        "import sma.training instead of training: the bare name is only its folder in the repository"
    )

if TYPE_CHECKING:
    from sma.training.comparison.compare import compare
    from sma.training.config import TrainSpec
    from sma.training.evaluation import evaluate
    from sma.training.inspection.findings import Inspection
    from sma.training.inspection.inspecting import inspect
    from sma.training.optimization.optimizers import OptimizerSpec
    from sma.training.optimization.schedules import ScheduleSpec
    from sma.training.run.errors import RunError
    from sma.training.run.folder import Run
    from sma.training.tasks.task import Batch, Evaluation, Task, TaskSpec
    from sma.training.train import resume, train
    from sma.training.trainer import Observer, Trainer

__all__ = [
    "Batch",
    "Evaluation",
    "Inspection",
    "Observer",
    "OptimizerSpec",
    "Run",
    "RunError",
    "ScheduleSpec",
    "Task",
    "TaskSpec",
    "TrainSpec",
    "Trainer",
    "compare",
    "evaluate",
    "inspect",
    "resume",
    "train",
]

lazy_names(  # `sma --help` needs no torch
    __name__,
    [
        "comparison.compare",
        "config",
        "evaluation",
        "inspection.findings",
        "inspection.inspecting",
        "optimization.optimizers",
        "run.errors",
        "run.folder",
        "optimization.schedules",
        "tasks.task",
        "train",
        "trainer",
    ],
)
