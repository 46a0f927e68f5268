"""Optimizers: a family of specs. Weight decay applies to every parameter, as in the published runs."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn
from typing_extensions import override

from sma import Spec, register

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSpec(Spec):
    """Family of optimizers."""

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """An optimizer of `parameters`."""


class _AdamLike(OptimizerSpec):
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


@register
class AdamWSpec(_AdamLike):
    """Adam with decoupled weight decay.

    Attributes:
        betas: decay of the running means of the gradient and of its square.
        eps: added to the root of the second.
        weight_decay: of every parameter, times the learning rate.
    """

    kind: Literal["adamw"] = "adamw"

    @override
    def build(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, learning_rate, **self.model_dump(exclude={"kind"}))


@register
class AdamSpec(_AdamLike):
    """Adam; weight decay is added to the gradient (L2). Attributes as in `AdamWSpec`."""

    kind: Literal["adam"] = "adam"

    @override
    def build(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, learning_rate, **self.model_dump(exclude={"kind"}))


@register
class RAdamSpec(_AdamLike):
    """Rectified Adam with decoupled weight decay. Attributes as in `AdamWSpec`."""

    kind: Literal["radam"] = "radam"

    @override
    def build(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        options = self.model_dump(exclude={"kind"})
        return torch.optim.RAdam(parameters, learning_rate, decoupled_weight_decay=True, **options)
