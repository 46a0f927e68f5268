import pytest
import torch
from torch import nn

from sma import NoState, PerElement, SequenceModule
from sma.sequence import zero_padding


class Bare(SequenceModule):
    def forward(self, x, mask=None):
        return x


def test_optional_parts_say_that_they_are_missing():
    module = Bare()
    for call in (lambda: module.init_state(1), lambda: module.step(None, NoState()), lambda: module.flops(1)):
        with pytest.raises(NotImplementedError, match="Bare does not"):
            call()


def test_sequence_module_is_abstract():
    with pytest.raises(TypeError, match="forward"):
        SequenceModule()


def test_per_element_applies_the_module():
    linear, x = nn.Linear(3, 2), torch.randn(2, 4, 3)
    module = PerElement(linear)
    assert torch.equal(module(x), linear(x))
    assert torch.equal(module.step(x, module.init_state(2)), linear(x))
    assert module.flops(10) == 2 * 10 * 3 * 2


def test_zero_padding():
    x = torch.tensor([[[1.0], [float("nan")]]])
    assert zero_padding(x, None) is x
    assert zero_padding(x, torch.tensor([[True, False]])).flatten().tolist() == [1.0, 0.0]
