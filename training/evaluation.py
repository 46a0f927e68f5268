"""How good a model is on a split of a task."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

import sma
from sma.training.tasks.task import IGNORED, Batch, Split, Task


@dataclass(frozen=True)
class Evaluation:
    """The result of a model on a split.

    Attributes:
        loss: mean cross-entropy per target, in nats.
        accuracy: the share of targets whose class got the highest score.
        n_targets: how many were scored.
        seconds: how long it took.
        activation_rates: per SMA layer, the share of elements that activated each sub-module.
    """

    loss: float
    accuracy: float
    n_targets: int
    seconds: float
    activation_rates: dict[str, list[float]]

    @property
    def bits(self) -> float:
        """Mean bits per target: bits per byte for bytes."""
        return self.loss / math.log(2)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy, computed in float32 at least, of `(..., C)` against `(...)`."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return nn.functional.cross_entropy(exact.flatten(0, -2), targets.flatten(), ignore_index=IGNORED)


@torch.no_grad()
def evaluate(model: nn.Module, task: Task, split: Split, *, batch_size: int) -> Evaluation:
    """Score a model on a whole split, in evaluation mode; the random numbers of a training run are untouched.

    Args:
        model: whose `model(inputs, mask)` gives class scores.
        task: the data.
        split: `"validation"` or `"test"`.
        batch_size: rows of the training length that fit into memory at once.

    Raises:
        ValueError: if the split has no targets.
    """
    start = perf_counter()
    loss, correct, count = 0.0, 0, 0
    active: dict[str, Tensor] = {}
    real: dict[str, Tensor] = {}
    like = next(model.parameters())
    with evaluating(model):
        for batch in task.evaluation_batches(split, batch_size):
            batch = batch.to(like)
            logits, recording = run_batch(model, batch)
            targets = batch.targets
            scored = targets != IGNORED
            n = int(scored.sum())
            loss += float(cross_entropy(logits, targets)) * n
            correct += int(((logits.argmax(-1) == targets) & scored).sum())
            count += n
            for layer in recording.layers:
                active[layer.name] = active.get(layer.name, 0) + layer.routing.active.sum((0, 1))
                real[layer.name] = real.get(layer.name, 0) + layer.mask.sum()
    if count == 0:
        raise ValueError(f"the {split} split of {task.title} has nothing to score; give it more data")
    rates = {name: (active[name] / real[name].clamp(min=1)).tolist() for name in active}
    return Evaluation(loss / count, correct / count, count, perf_counter() - start, rates)


def run_batch(model: nn.Module, batch: Batch) -> tuple[Tensor, sma.Recording]:
    """The scores of a batch, and what the SMA layers did."""
    with sma.record() as recording:
        logits = batch.scores(model)
    return logits, recording


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
