"""The forward operations of a model on batches: what every element costs, and what routing really spent."""

from collections import Counter
from collections.abc import Iterable

from torch import nn

from sma import Recording
from sma.training.report.description import describe, operations
from sma.training.tasks.task import Batch


class OperationCount:
    """Counts the forward operations of a model on batches, padding left out; a multiply-add counts as 2.

    Parts that every element reaches count by the length of each row, as their `flops` say. What is behind a
    router counts by what it received, as the recording of the same call says.

    Args:
        model: whose calls are counted; its parts must stay as they are.

    Example:
        >>> from sma.architectures import ssm_only
        >>> count = OperationCount(ssm_only(vocab_size=9, d_model=8, n_layers=2, d_state=2).build())
        >>> count.uncounted, count.fixed([5, 5]) == 2 * count.fixed([5])
        ([], True)
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._fixed: dict[int, int] = {}

    @property
    def uncounted(self) -> list[str]:
        """The names of parts that do not count their operations."""
        return [part.name for part in describe(self._model) if part.flops is None]

    def fixed(self, lengths: Iterable[int]) -> int:
        """Operations on rows of these lengths with nothing active."""
        return sum(n_rows * self._of_row(length) for length, n_rows in Counter(lengths).items())

    def of(self, batch: Batch, recording: Recording) -> int:
        """Operations of the call on a batch that was recorded."""
        return self.fixed(batch.lengths) + sum(recording.flops.values())

    def _of_row(self, length: int) -> int:
        if length not in self._fixed:
            per_element, _ = operations(describe(self._model, length)) if length else (0.0, 0.0)
            self._fixed[length] = round(per_element * length)
        return self._fixed[length]


def counting(model: nn.Module, *, needed_for: float | None) -> OperationCount | None:
    """What counts the operations of a model; None where a part does not count its own.

    Args:
        model: whose calls are counted.
        needed_for: the number of operations that ends the run; None if nothing depends on them.

    Raises:
        ValueError: if they are needed and a part does not count its own.
    """
    count = OperationCount(model)
    if not count.uncounted:
        return count
    if needed_for is not None:
        raise ValueError(
            f"operations={needed_for:g} cannot be counted, as {count.uncounted[0]} does not count its own; "
            "implement its `flops`, or set steps or time_limit instead"
        )
    return None
