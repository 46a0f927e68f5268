"""An optimizer's state by the names of parameters."""

import pytest
import torch
from torch import nn

from sma.training.optimization.state import load_named_state, named_state


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def optimizer_of(model, *, reverse=False):
    """Groups in another order than the model's parameters."""
    layers = list(model)[:: -1 if reverse else 1]
    return torch.optim.Adam([{"params": list(layer.parameters())} for layer in layers], lr=0.1)


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_state_is_found_again_by_names(reverse):
    first = model()
    optimizer = optimizer_of(first)
    step(first, optimizer)
    tensors, scalars = named_state(first, optimizer)
    assert tensors["optimizer/1.weight/exp_avg"].shape == (2, 4)
    second = model()
    second.load_state_dict(first.state_dict())
    other = optimizer_of(second, reverse=reverse)
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    load_named_state(second, other, {"model/0.weight": torch.ones(1), **copies}, scalars)
    step(first, optimizer)
    step(second, other)
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)


class Counting(torch.optim.Optimizer):
    """Has a number in its state."""

    def __init__(self, parameters):
        super().__init__(parameters, {})


def test_numbers_that_are_not_tensors():
    net = model()
    optimizer = Counting(net.parameters())
    load_named_state(net, optimizer, {}, {"0.bias": {"step": 7}})
    assert named_state(net, optimizer) == ({}, {"0.bias": {"step": 7}})


def test_an_unknown_parameter():
    net = model()
    with pytest.raises(KeyError, match=r"2\.weight"):
        load_named_state(net, optimizer_of(net), {"optimizer/2.weight/exp_avg": torch.ones(1)}, {})
