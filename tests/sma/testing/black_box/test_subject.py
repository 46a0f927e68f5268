"""A model that is checked: its copies, and how it rounds."""

import pytest
import torch
from broken_models import Plain
from torch import nn

from sma.testing.black_box.callers.plain import PlainCaller
from sma.testing.black_box.inputs import Features
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.subject import LEAST, WITHOUT_FLOAT64, copied, prepare


class OnlyFloat32(Plain):
    def forward(self, x, mask=None):
        return super().forward(x.float())


class NotANumber(Plain):
    def forward(self, x, mask=None):
        return super().forward(x) / 0 * 0


def subject(model):
    return prepare(model, PlainCaller(model, Features(4)), source=None, max_length=4)


def test_rounding_is_measured_against_float64():
    found = subject(Plain())
    assert 0 < found.drift < 1e-6
    assert LEAST <= found.tolerance < 1e-4


def test_a_model_that_does_not_run_in_float64():
    found = subject(OnlyFloat32())
    assert (found.drift, found.tolerance) == (None, WITHOUT_FLOAT64)


def test_a_model_that_returns_no_numbers():
    with pytest.raises(ValueError, match="NotANumber returns values that are not finite"):
        subject(NotANumber())


def test_trials_do_not_change_the_model():
    model = Plain().train()
    copy = copied(model, torch.float64)
    assert model.training
    assert not copy.training
    assert model.linear.weight.dtype == torch.float32
    assert copy.linear.weight.dtype == torch.float64


def test_a_model_that_cannot_be_copied():
    class Handle(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    with pytest.raises(ValueError, match=r"Handle cannot be copied .*no copies.*before it is quantised"):
        copied(Handle(2, 2), torch.float32)


def test_the_program_of_an_object_says_that_it_is_yours():
    found = subject(Plain())
    assert "from your_code import model" in found.program(Trial(("got = expected = model(table)",)))
