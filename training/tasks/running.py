"""Running a model on batches of a task: scores, loss, evaluation mode, and whether the two fit together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

import sma
from sma.training.tasks.task import IGNORED, Batch, Task


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy per scored target of `(..., C)` against `(...)`, in float32 at least; 0 of none."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = nn.functional.cross_entropy(
        exact.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / (targets != IGNORED).sum().clamp(min=1)


def run_batch(model: nn.Module, batch: Batch) -> tuple[Tensor, sma.Recording]:
    """The scores of a batch, and what the SMA layers did."""
    with sma.record() as recording:
        logits = batch.scores(model)
    return logits, recording


class ActivationCounts:
    """Counts, over the batches of several recordings, how many elements activated each sub-module."""

    def __init__(self) -> None:
        self._active: dict[str, Tensor] = {}
        self._real: dict[str, Tensor] = {}

    def add(self, recording: sma.Recording, *, times: float = 1) -> None:
        """Add the elements of a recording, `times` over; 0 times still makes its layers known."""
        for layer in recording.layers:
            active, real = layer.routing.active.sum((0, 1)), layer.mask.sum()
            self._active[layer.name] = self._active.get(layer.name, 0) + times * active
            self._real[layer.name] = self._real.get(layer.name, 0) + times * real

    def total(self, sum_over: Callable[[Tensor], Tensor]) -> None:
        """Replace every count by what a function makes of it, such as the sum over processes."""
        for counts in (self._active, self._real):
            for name, count in counts.items():
                counts[name] = sum_over(count)

    @property
    def rates(self) -> dict[str, list[float]]:
        """Per SMA layer, the share of real elements that activated each sub-module."""
        return {
            name: (active / self._real[name].clamp(min=1)).tolist() for name, active in self._active.items()
        }


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and other random numbers inside the `with` block; afterwards all is as it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(0)
            yield
    finally:
        model.train(was_training)


def check_fit(model: nn.Module, task: Task) -> None:
    """Run one row of the task through the model.

    Raises:
        ValueError: if the model cannot read the task's inputs, or scores another number of classes.
    """
    batch = task.longest_batch().to(next(model.parameters()))
    try:
        with evaluating(model), torch.no_grad():
            logits, _ = run_batch(model, batch)
    except (ValueError, RuntimeError, IndexError, TypeError, AttributeError) as error:
        kind = "sequence_model" if isinstance(batch.inputs, torch.Tensor | tuple) else "graph_model"
        raise ValueError(
            f"the model cannot read this task's inputs ({first_line(error)}); use a {kind} with the "
            f"embedding that fits {task.title}"
        ) from error
    expected = (*batch.targets.shape, task.n_classes)
    if tuple(logits.shape) != expected:
        raise ValueError(
            f"the model scores {tuple(logits.shape)} where {task.title} needs {expected}; change its head, "
            f"or its vocab_size or n_classes to {task.n_classes}"
        )


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type if there is none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
