"""The gradient of a step: forward and backward of its micro-batches."""

from torch import nn

from sma.compilation import Recorded
from sma.training.config import TrainSpec
from sma.training.environment import derive_seed, seed_everything
from sma.training.loop.micro_batches import MicroBatches
from sma.training.loop.step import MicroLoss, Totals, micro_batch_loss
from sma.training.optimization.precision import Precision
from sma.training.parallel.contract import Parallel
from sma.training.report.operations import counting
from sma.training.tasks.task import Task


class Gradients:
    """Computes the gradients of steps, each a function of the seed and the number of the step.

    Args:
        spec: of the run.
        task: the data.
        model: what is trained.
        parallel: the processes that share the work.
        precision: of the computation.

    Raises:
        ValueError: if operations are limited and a part of the model does not count its own.
    """

    def __init__(
        self, spec: TrainSpec, task: Task, model: nn.Module, parallel: Parallel, precision: Precision
    ) -> None:
        self.spec, self.task, self.model = spec, task, model
        self.parallel, self.precision = parallel, precision
        self._count = counting(model, needed_for=spec.operations)

    @property
    def counts_operations(self) -> bool:
        """Whether every part of the model counts its own."""
        return self._count is not None

    def of_step(self, call: Recorded, step: int, *, detailed: bool) -> Totals:
        """Add the gradients of a step to those that the weights have.

        Args:
            call: what `sma.recorded` makes of the model, as the processes share it.
            step: how many steps are done.
            detailed: whether auxiliary losses and activation counts are wanted as well.

        Returns:
            The means of the step over all micro-batches of all processes.
        """
        drawn, n = self.draw(step), self.spec.accumulation
        totals = Totals(n, detailed, n_real=sum(drawn.n_real))
        for index, batch in enumerate(drawn.batches):
            with self.parallel.accumulating(last=index == n - 1):
                micro = self.loss(call, drawn, step, index)
                self.precision.backward(micro.loss / n)
            operations = 0 if self._count is None else self._count.of(batch, micro.recording)
            totals.add(micro, batch.n_elements, operations, copies=drawn.n_copies[index])
        totals.over(self.parallel)
        return totals

    def draw(self, step: int) -> MicroBatches:
        """This process's share of a step's data."""
        seeds = [self._seed(step, index) for index in range(self.spec.accumulation)]
        return MicroBatches.draw(self.task, self.spec.batch_size, seeds, self.parallel)

    def loss(self, call: Recorded, drawn: MicroBatches, step: int, index: int) -> MicroLoss:
        """The loss of a micro-batch; their mean in a step is that of one batch of all its rows."""
        seed_everything(self.parallel.seed(self._seed(step, index)))
        with self.precision.autocast():
            return micro_batch_loss(
                call,
                drawn.batches[index].to(next(self.model.parameters())),
                target_weight=drawn.target_weight(index),
                element_weight=drawn.element_weight(index),
            )

    def _seed(self, step: int, index: int) -> int:
        return derive_seed(self.spec.seed, step, index)
