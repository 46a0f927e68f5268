"""Evaluation of a model on a split of a task."""

from time import perf_counter

import torch
from torch import nn

from sma.training.parallel.contract import OneProcess, Parallel
from sma.training.tasks.running import ActivationCounts, cross_entropy, evaluating, run_batch
from sma.training.tasks.task import IGNORED, Evaluation, Split, Task


@torch.no_grad()
def evaluate(
    model: nn.Module, task: Task, split: Split, *, batch_size: int, parallel: Parallel | None = None
) -> Evaluation:
    """Score a model on a whole split, in evaluation mode; the random numbers of a training run are untouched.

    Several processes share out the batches, and all get the result.

    Args:
        model: whose `model(inputs, mask)` gives class scores.
        task: the data.
        split: `"validation"` or `"test"`.
        batch_size: rows of the training length that fit into memory at once; of all processes together.
        parallel: the processes that share the work. None: only this one.

    Raises:
        ValueError: if the split has no targets.
    """
    start, parallel = perf_counter(), parallel or OneProcess()
    loss, correct, count = 0.0, 0, 0
    activation = ActivationCounts()
    like = next(model.parameters())
    with evaluating(model):
        own_size = -(-batch_size // parallel.world)
        for batch, counts in parallel.batches(task.evaluation_batches(split, own_size)):
            batch = batch.to(like)
            logits, recording = run_batch(model, batch)
            activation.add(recording, times=int(counts))
            if not counts:
                continue
            targets = batch.targets
            scored = targets != IGNORED
            n = int(scored.sum())
            loss += float(cross_entropy(logits, targets)) * n
            correct += int(((logits.argmax(-1) == targets) & scored).sum())
            count += n
    activation.total(parallel.sum)
    totals = parallel.sum(torch.tensor([loss, correct, count], dtype=torch.float64)).tolist()
    loss, correct, count = totals[0], int(totals[1]), int(totals[2])
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
