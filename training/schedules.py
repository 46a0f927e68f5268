"""Learning-rate schedules: a family of specs, each a function of the progress of a run."""

import math
from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from sma import Spec, register


class ScheduleSpec(Spec):
    """Family of learning-rate schedules.

    Attributes:
        warmup: steps over which the rate rises linearly from 0, before the decay.
        final: the factor that the decay ends at.
    """

    warmup: Annotated[int, Field(ge=0)] = 100
    final: Annotated[float, Field(ge=0, le=1)] = 0.0

    @abstractmethod
    def decay(self, progress: float) -> float:
        """The share of the decay that is still to come, from 1 at progress 0 to 0 at progress 1."""

    def factor(self, step: int, progress: float) -> float:
        """What the learning rate is multiplied by in a step.

        Args:
            step: the number of steps before this one.
            progress: the share of the run that lies behind, in [0, 1].

        Example:
            >>> ConstantSchedule(warmup=10).factor(0, 0.0)
            0.1
        """
        rise = min((step + 1) / self.warmup, 1.0) if self.warmup else 1.0
        return rise * (self.final + (1 - self.final) * self.decay(min(max(progress, 0.0), 1.0)))


@register
class LinearSchedule(ScheduleSpec):
    """Decay by `(1 - progress) ** power`; power 1 is a straight line.

    Attributes:
        power: the exponent.
    """

    kind: Literal["linear"] = "linear"
    power: Annotated[float, Field(gt=0)] = 1.0

    def decay(self, progress: float) -> float:
        """See `ScheduleSpec.decay`."""
        return (1 - progress) ** self.power


@register
class CosineSchedule(ScheduleSpec):
    """Decay along half a cosine."""

    kind: Literal["cosine"] = "cosine"

    def decay(self, progress: float) -> float:
        """See `ScheduleSpec.decay`."""
        return (1 + math.cos(math.pi * progress)) / 2


@register
class ConstantSchedule(ScheduleSpec):
    """No decay."""

    kind: Literal["constant"] = "constant"

    def decay(self, progress: float) -> float:
        """See `ScheduleSpec.decay`."""
        return 1.0
