"""Evaluation of a model on a split of a task."""

from time import perf_counter

import torch
from torch import nn

from sma.training.tasks.running import ActivationCounts, cross_entropy, evaluating, run_batch
from sma.training.tasks.task import IGNORED, Evaluation, Split, Task


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
    activation = ActivationCounts()
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
            activation.add(recording)
    if count == 0:
        raise ValueError(f"the {split} split of {task.title} has nothing to score; give it more data")
    return Evaluation(
        loss / count,
        correct / count,
        count,
        perf_counter() - start,
        activation.rates,
        task.targets_per_unit(split),
    )
