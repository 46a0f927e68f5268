"""Learning-rate schedules: a family of specs, each a factor that a scheduler of torch applies."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import Self, override

from sma import Spec, register


def _count_or_share(value: Any) -> Any:
    """Tell a number of steps from a share of them: 100 and 0.1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("use a whole number of steps, such as 100, or a share of the run, such as 0.05")
    if isinstance(value, float) and not 0 < value < 1:
        raise ValueError("a share of the run lies between 0 and 1, and a number of steps is a whole one")
    if not 0 <= value <= 2**53:
        raise ValueError("use a number of steps from 0 to 2^53, or a share of the run between 0 and 1")
    return value


Warmup = Annotated[int | float, BeforeValidator(_count_or_share)]


class ScheduleSpec(Spec):
    """Family of learning-rate schedules.

    Attributes:
        warmup: steps over which the rate rises, or, below 1, their share of the run.
        final: the factor that the decay ends at.
    """

    warmup: Warmup = 0.05
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

    def over(self, steps: int | None) -> Self:
        """The same schedule with a warm-up in steps, where a run has a number of them: at least one step."""
        if steps is None or isinstance(self.warmup, int):
            return self
        return self.model_copy(update={"warmup": max(1, round(self.warmup * steps))})

    def build(
        self,
        optimizer: torch.optim.Optimizer,
        progress: Callable[[], float],
        *,
        steps: int | None,
        done: int = 0,
    ) -> LambdaLR:
        """A scheduler of torch, whose `step` follows that of the optimizer.

        Args:
            optimizer: whose groups have their highest learning rates.
            progress: the share of the run that lies behind, when asked.
            steps: of the run; None where time alone ends it.
            done: steps that lie behind.
        """
        schedule = self.over(steps)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return LambdaLR(optimizer, lambda step: schedule.factor(step, progress()), last_epoch=done - 1)


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
        progress = min(max(progress, 0.0), 1.0)
        if isinstance(self.warmup, int):
            risen = step / self.warmup if self.warmup else 1.0
            share = self.warmup * progress / step if step else 0.0  # of the run that was warm-up
        else:
            risen, share = progress / self.warmup, self.warmup
        if risen < 1:
            return self.start + (1 - self.start) * risen**self.warmup_power
        return self.final + (1 - self.final) * ((1 - progress) / (1 - share) if share < 1 else 0.0)


class Decay(ScheduleSpec):
    """A schedule that rises linearly over the warm-up, and decays from the first step on."""

    @abstractmethod
    def decay(self, progress: float) -> float:
        """The share of the decay that is still to come, from 1 at progress 0 to 0 at progress 1."""

    @override
    def factor(self, step: int, progress: float) -> float:
        if isinstance(self.warmup, int):
            rise = min((step + 1) / self.warmup, 1.0) if self.warmup else 1.0
        else:
            rise = min(progress / self.warmup, 1.0)
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


@register
class WarmupStableDecaySchedule(Decay):
    r"""Warm-up, a constant rate, and a decay over the last share of the run (https://arxiv.org/abs/2404.06395).

    With x the share of the decay that lies behind, its factor is \(1 - x\) (`linear`), \(1 - \sqrt{x}\)
    (`sqrt`, https://arxiv.org/abs/2405.18392) or \((1 + \cos \pi x) / 2\) (`cosine`).

    Attributes:
        decay_share: the share of the run that the decay takes.
        shape: of the decay.
    """

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    decay_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    shape: Literal["linear", "sqrt", "cosine"] = "sqrt"

    @override
    def decay(self, progress: float) -> float:
        behind = min(max((progress - 1) / self.decay_share + 1, 0.0), 1.0)
        if self.shape == "cosine":
            return (1 + math.cos(math.pi * behind)) / 2
        return 1 - (behind**0.5 if self.shape == "sqrt" else behind)
