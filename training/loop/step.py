"""The parts of a training step: the loss of a micro-batch, means of the step, and the gradient's norm."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import sma
from sma.training.parallel.contract import Parallel
from sma.training.parallel.tensors import whole
from sma.training.tasks.running import ActivationCounts, cross_entropy
from sma.training.tasks.task import Batch


@dataclass(frozen=True)
class MicroLoss:
    """What a micro-batch contributes to a step.

    Attributes:
        loss: the cross-entropy and the routers' losses, weighted; attached to the graph.
        cross_entropy: the first of them.
        auxiliary: each of the second, by name.
        recording: what the SMA layers decided.
    """

    loss: Tensor
    cross_entropy: Tensor
    auxiliary: dict[str, Tensor]
    recording: sma.Recording


def micro_batch_loss(
    call: Callable[..., tuple[Tensor, sma.Recording]],
    batch: Batch,
    *,
    target_weight: float,
    element_weight: float,
) -> MicroLoss:
    """The loss of a micro-batch: cross-entropy counts by scored targets, routers' losses by real elements.

    Args:
        call: what `sma.recorded` makes of the model.
        batch: on the model's device.
        target_weight: factor of the mean over scored targets.
        element_weight: factor of the means over real elements.
    """
    logits, recording = batch.scores(call)
    cross = cross_entropy(logits, batch.targets) * target_weight
    auxiliary = {name: loss * element_weight for name, loss in recording.losses.items()}
    loss = cross + sum(auxiliary.values(), torch.zeros_like(cross))
    return MicroLoss(loss, cross.detach(), auxiliary, recording)


@dataclass
class Totals:
    """Means of a step over its micro-batches.

    Attributes:
        n_micro_batches: how many there are.
        detailed: whether auxiliary losses and activation counts are wanted as well.
        n_real: real elements that the step reads, in all processes.
        loss: with the routers' losses.
        entropy: the cross-entropy in it.
        n_elements: the sum of what is read, padding included.
        operations: the sum of the forward operations; 0 where they are not counted.
        auxiliary: the routers' losses, by name.
        counts: activations.
    """

    n_micro_batches: int
    detailed: bool
    n_real: int
    loss: float = 0.0
    entropy: float = 0.0
    n_elements: int = 0
    operations: float = 0.0
    auxiliary: dict[str, float] = field(default_factory=dict)
    counts: ActivationCounts = field(default_factory=ActivationCounts)

    def add(self, micro: MicroLoss, n_elements: int, operations: int, *, copies: int) -> None:
        """Count a micro-batch in, whose elements so many processes have."""
        self.n_elements += n_elements
        self.operations += operations / copies
        self.loss += float(micro.loss.detach()) / self.n_micro_batches
        self.entropy += float(micro.cross_entropy) / self.n_micro_batches
        if not self.detailed:
            return
        self.counts.add(micro.recording, times=1 / copies)
        for name, value in micro.auxiliary.items():
            part = float(value.detach()) / self.n_micro_batches
            self.auxiliary[name] = self.auxiliary.get(name, 0.0) + part

    def over(self, parallel: Parallel) -> None:
        """Replace the means of this process by those of all, and counts by their sums."""
        own = torch.tensor([self.loss, self.entropy, self.n_elements, self.operations], dtype=torch.float64)
        loss, entropy, n_elements, operations = parallel.sum(own).tolist()
        self.loss, self.entropy = loss / parallel.world, entropy / parallel.world
        self.n_elements, self.operations = int(n_elements), operations
        self.counts.total(parallel.sum)


def clip_gradient(parameters: Iterable[nn.Parameter], limit: float | None) -> float:
    """Scale the gradient down to a norm of at most `limit`; the norm that it had."""
    return float(whole(nn.utils.clip_grad_norm_(parameters, math.inf if limit is None else limit)))
