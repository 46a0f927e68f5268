"""The micro-batches of one step, and the weight of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sma.training.run.errors import RunError
from sma.training.tasks.task import Batch, Task


@dataclass(frozen=True)
class MicroBatches:
    """The micro-batches of a step, weighted so that they act as one batch of all their rows.

    A mean over scored targets, times `target_weight`, gives by its mean over the micro-batches the mean over
    all scored targets; so does a mean over real elements, times `element_weight`.

    Attributes:
        batches: in order.
        n_targets: how many targets each scores.
        n_real: how many real elements each holds.
    """

    batches: Sequence[Batch]
    n_targets: Sequence[int]
    n_real: Sequence[int]

    @classmethod
    def draw(cls, task: Task, batch_size: int, seeds: Sequence[int]) -> "MicroBatches":
        """Training batches of a task, one for each seed.

        Raises:
            RunError: if they have no target to score.
        """
        batches = [task.training_batch(batch_size, torch.Generator().manual_seed(seed)) for seed in seeds]
        drawn = cls(batches, [batch.n_targets for batch in batches], [batch.n_real for batch in batches])
        if not sum(drawn.n_targets):
            raise RunError(
                f"the batches of a step have nothing to score: all targets that {task.title} gave are "
                "IGNORED; set a higher batch_size, or give the task more targets"
            )
        return drawn

    def target_weight(self, micro: int) -> float:
        """The scored targets of a micro-batch, over their mean in all micro-batches."""
        return self.n_targets[micro] * len(self.batches) / sum(self.n_targets)

    def element_weight(self, micro: int) -> float:
        """The real elements of a micro-batch, over their mean in all micro-batches."""
        return self.n_real[micro] * len(self.batches) / max(sum(self.n_real), 1)
