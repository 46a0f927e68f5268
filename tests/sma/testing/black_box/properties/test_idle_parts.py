"""Parameters that get no gradient from some batches are found by name."""

from broken_models import IdleExperts, Plain
from torch import nn

from sma.testing import check_model

NAMES = ["gradients of idle parts"]


def test_an_expert_that_no_element_chooses():
    finding = check_model(IdleExperts(), properties=NAMES, examples=10)[NAMES[0]]
    assert finding.verdict == "violated"
    assert finding.difference == 2
    assert {name.split(".")[-1] for name in finding.names} == {"weight", "bias"}
    assert "no gradient for experts." in finding.detail
    assert check_model(Plain(), properties=NAMES, examples=5).ok


def test_a_parameter_that_never_takes_part_is_no_violation():
    model = Plain()
    model.unused = nn.Linear(2, 2)
    assert check_model(model, properties=NAMES, examples=3).ok
