"""Settings that change during training; a training loop reports its progress by `set_progress`."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.modules.functional import at_least_float32


@dataclass(frozen=True)
class Ramp:
    """A number that moves on a straight line during the first part of training, and then stays.

    Attributes:
        start: its value at first.
        end: its value at last.
        over: the share of training that it takes to get there, in (0, 1].

    Raises:
        ValueError: if `over` is not in (0, 1].

    Example:
        >>> Ramp(2.0, 0.5, over=0.3)
        Ramp(start=2.0, end=0.5, over=0.3)
    """

    start: float
    end: float
    over: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.over <= 1:
            raise ValueError(f"over is a share of training and must be in (0, 1], got {self.over}")


class Scheduled(nn.Module):
    """A setting of a module: a number, or a `Ramp`. Calling it gives its value now.

    A ramp's progress is a buffer. So it is saved with the weights, and torch.compile does not compile again
    as it moves.

    Args:
        value: the number, or how it moves.

    Example:
        >>> temperature = Scheduled(Ramp(2.0, 0.5, over=0.5))
        >>> for progress in (0.0, 0.25, 0.5, 1.0):
        ...     temperature.set_progress(progress)
        ...     print(float(temperature()))
        2.0
        1.25
        0.5
        0.5
    """

    progress: Tensor | None

    def __init__(self, value: float | Ramp) -> None:
        super().__init__()
        self.value = value
        self.register_buffer("progress", torch.zeros(()) if isinstance(value, Ramp) else None)

    @property
    def extremes(self) -> tuple[float, ...]:
        """The bounds of the value: itself, or both ends of the ramp."""
        return (self.value.start, self.value.end) if isinstance(self.value, Ramp) else (self.value,)

    @override
    def forward(self) -> float | Tensor:
        """The value now: a plain number if it never moves."""
        if not isinstance(self.value, Ramp):
            return self.value
        assert self.progress is not None
        progress = self.progress.to(at_least_float32(self.progress.dtype))
        share = (progress / self.value.over).clamp(max=1)
        return self.value.start * (1 - share) + self.value.end * share

    def set_progress(self, progress: float) -> None:
        """Move to where the value is when this share of training lies behind; 1 and more are the end.

        Raises:
            ValueError: if `progress` is negative or no number.
        """
        if not progress >= 0:
            raise ValueError(f"progress is a share of training and must be at least 0, got {progress}")
        if self.progress is not None:
            self.progress.fill_(min(progress, 1.0))

    @override
    def extra_repr(self) -> str:
        return str(self.value)


def set_progress(model: nn.Module, progress: float) -> None:
    """Move every `Scheduled` setting in a model; a training loop calls it before each step.

    Args:
        model: any module.
        progress: the share of training that lies behind, from 0 to 1.

    Example:
        >>> from sma.modules import ActivationBudget, LatentConfigurator
        >>> router = ActivationBudget(LatentConfigurator(8), rate=Ramp(1.0, 0.2), coefficient=1.0)
        >>> set_progress(router, 0.5)
        >>> round(float(router.rates[0]()), 6)
        0.6
    """
    for module in model.modules():
        if isinstance(module, Scheduled):
            module.set_progress(progress)
