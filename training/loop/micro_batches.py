"""The micro-batches of one step, and the weight of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sma.training.parallel.contract import Parallel
from sma.training.run.errors import RunError
from sma.training.tasks.task import Batch, Part, Task


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
        drawn = [_draw(task, batch_size, torch.Generator().manual_seed(seed), parallel) for seed in seeds]
        parts, n_copies = [part for part, _ in drawn], [copies for _, copies in drawn]
        n_all_targets = sum(part.n_targets for part in parts)
        if not n_all_targets:
            raise RunError(
                f"the batches of a step have nothing to score: all targets that {task.title} gave are "
                "IGNORED; set a higher batch_size, or give the task more targets"
            )
        own = [part.batch for part in parts]
        return cls(
            own,
            n_targets=[batch.n_targets for batch in own],
            n_real=[part.n_real for part in parts],
            n_copies=n_copies,
            n_step_targets=n_all_targets / parallel.world,
        )

    def target_weight(self, micro: int) -> float:
        """The scored targets of a micro-batch, over their mean in all micro-batches of all processes."""
        return self.n_targets[micro] * len(self.batches) / self.n_step_targets

    def element_weight(self, micro: int) -> float:
        """The real elements of a micro-batch, over their mean in all micro-batches."""
        return self.n_real[micro] * len(self.batches) / max(sum(self.n_real), 1)


def _draw(task: Task, batch_size: int, generator: torch.Generator, parallel: Parallel) -> tuple[Part, int]:
    """This process's part of a training batch, and how many processes have the same elements."""
    if parallel.world > 1:
        part = task.training_part(batch_size, generator, parallel.rank, parallel.world)
        if part is not None:
            return part, 1
    batch = task.training_batch(batch_size, generator)
    own = parallel.share(batch)
    n_copies = parallel.world if own.inputs is batch.inputs else 1
    return Part(own, batch.n_targets, batch.n_real), n_copies
