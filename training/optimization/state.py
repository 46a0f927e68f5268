"""The state of an optimizer by the names of its model's parameters, as files hold it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PREFIX = "optimizer/"


def named_state(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """What an optimizer remembers: tensors by `optimizer/PARAMETER/KEY`, numbers by parameter and key."""
    names = _names(model, optimizer)
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{PREFIX}{names[index]}/{key}"] = value
            else:
                scalars.setdefault(names[index], {})[key] = value
    return tensors, scalars


def load_named_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    scalars: Mapping[str, Mapping[str, Any]],
) -> None:
    """Give an optimizer what `named_state` found; other tensors are left aside.

    Raises:
        KeyError: if the model has no parameter of a name.
    """
    state: dict[int, dict[str, Any]] = {}
    index = {name: i for i, name in enumerate(_names(model, optimizer))}
    for path, tensor in tensors.items():
        if path.startswith(PREFIX):
            name, key = path.removeprefix(PREFIX).rsplit("/", 1)
            state.setdefault(index[name], {})[key] = tensor
    for name, values in scalars.items():
        state.setdefault(index[name], {}).update(values)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The names of the parameters in the order in which the optimizer's groups hold them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
