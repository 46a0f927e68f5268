"""The contract of loggers, and the family of their specs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sma import Spec


class Logger(ABC):
    """Gets every line of metrics.jsonl while a run goes on."""

    @abstractmethod
    def start(self, folder: Path, values: dict[str, Any], step: int) -> None:
        """Before the first step, or the first after resuming.

        Args:
            folder: the run's.
            values: the fields of its spec, as JSON values.
            step: steps that lie behind; lines after it that were logged before count no longer.
        """

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """After a line of metrics.jsonl, whose numbers are `values`, see `scalars`."""

    @abstractmethod
    def close(self) -> None:
        """After the last step, however the run ends."""


class LoggerSpec(Spec):
    """Family of loggers.

    Another package adds one by deriving from this and registering its class, with `@sma.register` or by an
    entry point in the group `sma.specs`.
    """

    @abstractmethod
    def build(self) -> Logger:
        """A logger that was not started.

        Raises:
            ValueError: if a package that it needs is not installed; the message names it.
        """


@contextmanager
def running(loggers: Sequence[Logger], folder: Path, values: dict[str, Any], step: int) -> Iterator[None]:
    """Start loggers, and close them when the `with` block is left; arguments as of `Logger.start`."""
    with ExitStack() as stack:
        for logger in loggers:
            logger.start(folder, values, step)
            stack.callback(logger.close)
        yield


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in a line of metrics.jsonl by name, all but the step.

    Example:
        >>> row = {"step": 3, "split": "training", "loss": 0.5, "auxiliary": {"budget": 0.1}}
        >>> scalars({**row, "activation": {"blocks.0": [0.3], "blocks.1": [0.2, 0.4]}})
        {'training/loss': 0.5, 'training/auxiliary/budget': 0.1, 'training/activation/blocks.0': 0.3, \
'training/activation/blocks.1/0': 0.2, 'training/activation/blocks.1/1': 0.4}
    """
    fields = {key: value for key, value in row.items() if key not in {"step", "split"}}
    return dict(_numbers(row["split"], fields))


def _numbers(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(f"{path}/{key}", part)
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _numbers(path if len(value) == 1 else f"{path}/{i}", part)
    elif isinstance(value, int | float):
        yield path, float(value)
