"""Learning-rate schedules: a family of specs, each a function of the progress of a run."""

import math
from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from sma import Spec, register


class ScheduleSpec(Spec):
    """Family of learning-rate schedules.

    Attributes:
        warmup: steps over which the rate rises.
        final: the factor that the decay ends at.
    """

    warmup: Annotated[int, Field(ge=0)] = 100
    final: Annotated[float, Field(ge=0, le=1)] = 0.0

    @abstractmethod
    def factor(self, step: int, progress: float) -> float:
        """The factor of the learning rate in a step.

        Args:
            step: the number of steps before this one.
            progress: the share of the run that lies behind, in [0, 1].

        Example:
            >>> ConstantSchedule(warmup=10).factor(0, 0.0)
            0.1
        """


@register
class PublishedSchedule(ScheduleSpec):
    r"""The schedule of the published runs: after the warm-up, a straight line from 1 to `final`.

    In the warm-up of w steps the factor of step t is
    \(\text{start} + (1 - \text{start}) (t / w)^\text{warmup\_power}\).

    Attributes:
        start: the factor of the first step.
        warmup_power: 1 for a linear rise.
    """

    kind: Literal["published"] = "published"
    start: Annotated[float, Field(ge=0, le=1)] = 0.0
    warmup_power: Annotated[float, Field(gt=0)] = 1.0

    @override
    def factor(self, step: int, progress: float) -> float:
        if step < self.warmup:
            return self.start + (1 - self.start) * (step / self.warmup) ** self.warmup_power
        progress = min(max(progress, 0.0), 1.0)
        risen = self.warmup * progress / step if step else 0.0  # the share of the run that was warm-up
        return self.final + (1 - self.final) * ((1 - progress) / (1 - risen) if risen < 1 else 0.0)


class Decay(ScheduleSpec):
    """A schedule that rises linearly over the warm-up, and decays from the first step on."""

    @abstractmethod
    def decay(self, progress: float) -> float:
        """The share of the decay that is still to come, from 1 at progress 0 to 0 at progress 1."""

    @override
    def factor(self, step: int, progress: float) -> float:
        rise = min((step + 1) / self.warmup, 1.0) if self.warmup else 1.0
        return rise * (self.final + (1 - self.final) * self.decay(min(max(progress, 0.0), 1.0)))


@register
class LinearSchedule(Decay):
    """Decay by `(1 - progress) ** power`; power 1 is a straight line.

    Attributes:
        power: the exponent.
    """

    kind: Literal["linear"] = "linear"
    power: Annotated[float, Field(gt=0)] = 1.0

    @override
    def decay(self, progress: float) -> float:
        return (1 - progress) ** self.power


@register
class CosineSchedule(Decay):
    """Decay along half a cosine."""

    kind: Literal["cosine"] = "cosine"

    @override
    def decay(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2


@register
class ConstantSchedule(Decay):
    """No decay."""

    kind: Literal["constant"] = "constant"

    @override
    def decay(self, progress: float) -> float:
        return 1.0
