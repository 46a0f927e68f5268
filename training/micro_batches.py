"""The micro-batches of one step, and the weight of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sma.training.parallel.contract import Parallel
from sma.training.run.errors import RunError
from sma.training.tasks.task import Batch, Task


@dataclass(frozen=True)
class MicroBatches:
    """The micro-batches of a step, weighted so that they act as one batch of all their rows.

    A mean over the scored targets of a process, times `target_weight`, gives by its mean over micro-batches
    and processes the mean over all scored targets; so does a mean over the real elements of all processes,
    times `element_weight`.

    Attributes:
        batches: in order; this process's share of each.
        n_targets: how many targets each scores in this process.
        n_real: how many real elements each holds in all processes.
        n_copies: how many processes have the same elements: all those that share one graph.
        n_step_targets: how many targets the step scores, per process.
    """

    batches: Sequence[Batch]
    n_targets: Sequence[int]
    n_real: Sequence[int]
    n_copies: Sequence[int]
    n_step_targets: float

    @classmethod
    def draw(cls, task: Task, batch_size: int, seeds: Sequence[int], parallel: Parallel) -> "MicroBatches":
        """Training batches of a task, one for each seed.

        Raises:
            RunError: if they have no target to score.
            ValueError: if a process would have no data.
        """
        batches = [task.training_batch(batch_size, torch.Generator().manual_seed(seed)) for seed in seeds]
        n_all_targets = sum(batch.n_targets for batch in batches)
        n_real = [batch.n_real for batch in batches]
        own = [parallel.share(batch) for batch in batches]
        n_copies = [
            parallel.world if mine.inputs is all_of.inputs else 1
            for mine, all_of in zip(own, batches, strict=True)
        ]
        n_targets = [batch.n_targets for batch in own]
        drawn = cls(own, n_targets, n_real, n_copies, n_all_targets / parallel.world)
        if not n_all_targets:
            raise RunError(
                f"the batches of a step have nothing to score: all targets that {task.title} gave are "
                "IGNORED; set a higher batch_size, or give the task more targets"
            )
        return drawn

    def target_weight(self, micro: int) -> float:
        """The scored targets of a micro-batch, over their mean in all micro-batches of all processes."""
        return self.n_targets[micro] * len(self.batches) / self.n_step_targets

    def element_weight(self, micro: int) -> float:
        """The real elements of a micro-batch, over their mean in all micro-batches."""
        return self.n_real[micro] * len(self.batches) / max(sum(self.n_real), 1)
