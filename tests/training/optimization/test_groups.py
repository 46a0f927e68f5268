"""Which parameters weight decay applies to."""

import pytest
import torch
from torch import nn

from sma.architectures import mega, mixture_of_depths, seqboat, ssm_only
from sma.modules import S4D, LatentConfigurator, SelectiveSSM
from sma.training.optimization.groups import parameter_groups

SIZES = {"vocab_size": 11, "d_model": 8, "n_layers": 2}
SPARED = (
    ".bias", "norm.weight", "log_temperature", "delta", "alpha", "omega", "position.weight", "log_step",
    "log_decay", "frequency", "step_bias", "kernel_bias", "log_rate", "scale", "shift",
    "sub_modules.0.beta", "sub_modules.0.gamma", "rotary",
)  # fmt: skip


def names(model: nn.Module) -> tuple[set[str], set[str]]:
    """Those with weight decay, and those without."""
    by_id = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, spared = set(), set()
    for group in parameter_groups(model):
        (spared if "weight_decay" in group else decayed).update(by_id[id(p)] for p in group["params"])
    return decayed, spared


@pytest.mark.parametrize("preset", [seqboat, mega, ssm_only, mixture_of_depths])
def test_every_parameter_is_in_one_group(preset: object) -> None:
    model = preset(**SIZES).build()  # type: ignore[operator]
    decayed, spared = names(model)
    assert not decayed & spared
    assert decayed | spared == dict(model.named_parameters()).keys()
    assert all(model.get_parameter(name).dim() >= 2 for name in decayed)
    assert not [name for name in decayed if name.endswith(SPARED)]
    assert [name for name in decayed if name.endswith("weight")]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (S4D(4, d_state=4), {"read_out"}),
        (SelectiveSSM(4, d_head=4), {"project_in.weight", "kernel", "project_out.weight"}),
        (LatentConfigurator(4), {"projection.weight"}),
        (nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3), nn.Embedding(4, 3)), {"1.weight", "2.weight"}),
    ],
)
def test_decayed(module: nn.Module, expected: set[str]) -> None:
    assert names(module)[0] == expected


def test_a_module_lists_its_own() -> None:
    class Part(nn.Module):
        no_weight_decay = ("table",)

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(2, 2))
            self.weight = nn.Parameter(torch.zeros(2, 2))

    assert names(Part()) == ({"weight"}, {"table"})
