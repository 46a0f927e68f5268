"""Optimizers: a family of specs, for the published ones and any of torch.optim."""

import inspect
from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from typing_extensions import override

from sma import Spec, register
from sma.checks import near
from sma.training.optimization.groups import parameter_groups

Beta = Annotated[float, Field(ge=0, lt=1)]
Groups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
Argument = Annotated[bool | int | float | str, Field(union_mode="smart")]
Arguments = dict[str, Argument | tuple[Annotated[float, Field(ge=-1e9, le=1e9)], ...] | None]

OWN = {
    "params": "the model's parameters are taken",
    "lr": "set learning_rate of the run",
    "differentiable": "a step is not differentiated",
    "maximize": "the loss is minimised",
}
"""Arguments of torch's optimizers that a spec does not take, and why."""
UNFIT = {"LBFGS": "it calls the model several times per step", "SparseAdam": "gradients are dense"}


LARGEST = 1e15
"""The highest rate, decay or norm: products of two still are numbers in float32."""


class OptimizerSpec(Spec):
    """Family of optimizers.

    Attributes:
        decayed: what weight decay applies to: `weights` spares norms, biases, temperatures, decays of
            state-space models and tables of positions, see `parameter_groups`; `all` are all parameters, as
            in the published runs.
    """

    decayed: Literal["weights", "all"] = "weights"

    @abstractmethod
    def build(self, parameters: Groups, learning_rate: float) -> torch.optim.Optimizer:
        """An optimizer of `parameters`, or of groups of them as torch takes them."""

    def of_model(self, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        """An optimizer of a model's parameters, in the groups that `decayed` makes."""
        if self.decayed == "all":
            return self.build(model.parameters(), learning_rate)
        return self.build(parameter_groups(model), learning_rate)


class _AdamLike(OptimizerSpec):
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: Annotated[float, Field(gt=0, le=LARGEST)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST)] = 0.01

    def options(self) -> dict[str, Any]:
        """The arguments of torch's class."""
        return {"betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}


@register
class AdamWSpec(_AdamLike):
    """Adam with decoupled weight decay.

    Attributes:
        betas: decay of the running means of the gradient and of its square.
        eps: added to the root of the second.
        weight_decay: of the `decayed` parameters, times the learning rate.
    """

    kind: Literal["adamw"] = "adamw"

    @override
    def build(self, parameters: Groups, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, learning_rate, **self.options())


@register
class AdamSpec(_AdamLike):
    """Adam; weight decay is added to the gradient (L2). Attributes as in `AdamWSpec`."""

    kind: Literal["adam"] = "adam"

    @override
    def build(self, parameters: Groups, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, learning_rate, **self.options())


@register
class RAdamSpec(_AdamLike):
    """Rectified Adam with decoupled weight decay. Attributes as in `AdamWSpec`."""

    kind: Literal["radam"] = "radam"

    @override
    def build(self, parameters: Groups, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.RAdam(parameters, learning_rate, decoupled_weight_decay=True, **self.options())


@register
class TorchOptimizerSpec(OptimizerSpec):
    """Any optimizer of torch.optim that needs one gradient per step.

    Attributes:
        name: of the class, such as `SGD` or `NAdam`.
        arguments: of its constructor, but for parameters and learning rate; those left out have torch's
            defaults.

    Example:
        >>> spec = TorchOptimizerSpec(name="SGD", arguments={"momentum": 0.9})
        >>> spec.of_model(nn.Linear(2, 2), 0.1).param_groups[0]["momentum"]
        0.9
    """

    kind: Literal["torch"] = "torch"
    name: str
    arguments: Annotated[Arguments, Field(max_length=32, default_factory=dict)]

    @model_validator(mode="after")
    def _check(self) -> "TorchOptimizerSpec":
        known = _torch_optimizers()
        if self.name in UNFIT:
            raise ValueError(f"{self.name} cannot train here, since {UNFIT[self.name]}; use AdamW")
        if self.name not in known:
            raise ValueError(f"torch.optim has no optimizer {self.name!r}{near(self.name, list(known))}")
        allowed = [name for name in inspect.signature(known[self.name]).parameters if name not in OWN]
        for name in self.arguments:
            if name in OWN:
                raise ValueError(f"{self.name} gets no {name!r} here: {OWN[name]}; leave it out")
            if name not in allowed:
                raise ValueError(f"{self.name} has no argument {name!r}{near(name, allowed)}")
        try:  # two dimensions, as some take matrices only
            optimizer = self.build([nn.Parameter(torch.zeros(2, 2))], 1e-3)
            for group in optimizer.param_groups:
                group["params"][0].grad = torch.ones(2, 2)
            optimizer.step()
        except Exception as error:  # whatever torch thinks of the values
            told = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            raise ValueError(f"{self.name} does not take these arguments ({told}); change them") from error
        return self

    @override
    def build(self, parameters: Groups, learning_rate: float) -> torch.optim.Optimizer:
        optimizer = _torch_optimizers()[self.name]
        try:
            return optimizer(parameters, lr=learning_rate, **self.arguments)
        except ValueError as error:
            raise ValueError(f"{self.name} cannot train this model ({error}); use another one") from error


def _torch_optimizers() -> dict[str, Any]:
    found = {name: value for name, value in vars(torch.optim).items() if isinstance(value, type)}
    base = torch.optim.Optimizer
    return {
        name: value
        for name, value in found.items()
        if issubclass(value, base) and value is not base and name not in UNFIT
    }
