import pytest
import torch
from torch import nn

from sma import NoState, PackedCompaction, Pointwise, SubModule
from sma.testing import CausalMean


class Bare(SubModule):
    def forward(self, elements):
        return elements.x


def test_optional_parts_say_that_they_are_missing():
    module = Bare()
    for call in (lambda: module.init_state(1), lambda: module.step(None, NoState()), lambda: module.flops(1)):
        with pytest.raises(NotImplementedError, match="Bare does not"):
            call()


def test_sub_module_is_abstract():
    with pytest.raises(TypeError, match="forward"):
        SubModule()


def test_pointwise_applies_the_module():
    linear = nn.Linear(3, 3)
    elements = PackedCompaction().compress(torch.randn(2, 4, 3), torch.ones(2, 4, dtype=torch.bool))
    module = Pointwise(linear)
    assert torch.equal(module(elements), linear(elements.x))
    assert torch.equal(module.step(elements, module.init_state(2)), linear(elements.x))


def test_pointwise_counts_matrices_or_what_it_is_told():
    mlp = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 4))
    assert Pointwise(mlp).flops(3) == 3 * 2 * (4 * 8 + 8 * 4)
    assert Pointwise(mlp, flops_per_element=5).flops(3) == 15


def test_causal_mean_is_the_mean_of_what_came_before():
    x = torch.tensor([[1.0, 5.0, 3.0, 7.0], [2.0, 4.0, 6.0, 8.0]])[..., None]
    active = torch.tensor([[True, False, True, True], [False, True, False, True]])
    module = CausalMean(1)
    nn.init.ones_(module.linear.weight)
    y = module(PackedCompaction().compress(x, active)).squeeze(-1)
    torch.testing.assert_close(y, torch.tensor([1.0, 2.0, 11 / 3, 4.0, 6.0]))
