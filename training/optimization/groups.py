"""Parameter groups: which parameters weight decay applies to."""

from typing import Any

from torch import nn

from sma.modules.attention.positions import RelativePosition
from sma.modules.norms import Norm


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """The parameters of a model in the groups that an optimizer takes: with weight decay, and without.

    Without are those that a pull towards 0 would not make simpler: biases, norms, temperatures of routers and
    everything else of fewer than two dimensions, tables of relative positions, and what a module lists in its
    `no_weight_decay`, such as the decays of state-space models.

    Example:
        >>> with_decay, without = parameter_groups(nn.Linear(3, 2))
        >>> len(with_decay["params"]), len(without["params"]), without["weight_decay"]
        (1, 1, 0.0)
    """
    spared = _spared(model)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if id(p) not in spared]},
        {"params": [p for p in model.parameters() if id(p) in spared], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _spared(model: nn.Module) -> set[int]:
    """The ids of the parameters without weight decay."""
    found = set()
    for module in model.modules():
        listed = getattr(module, "no_weight_decay", ())
        whole = isinstance(module, Norm | RelativePosition)
        for name, parameter in module.named_parameters(recurse=False):
            if whole or name in listed or parameter.dim() < 2 or name.endswith("bias"):
                found.add(id(parameter))
    return found
