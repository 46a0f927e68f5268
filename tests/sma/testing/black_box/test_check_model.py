"""The check as a whole: violations are confirmed by their programs, and bad input is named."""

import pytest
import torch
from broken_models import Plain, SeesBatchMates
from torch import nn

from sma.testing import check_model


def test_a_violation_is_confirmed_by_its_program():
    report = check_model(SeesBatchMates, properties=["batch-mates"], examples=5)
    finding = report["batch-mates"]
    assert finding.confirmed
    assert len(finding.program.splitlines()) < 20
    assert finding.program.startswith("import torch\nfrom broken_models import SeesBatchMates\n")


def test_a_model_that_is_known_as_an_object_only_is_not_run():
    finding = check_model(SeesBatchMates(), properties=["batch-mates"], examples=5)["batch-mates"]
    assert finding.confirmed is None


def test_the_model_stays_as_it_was():
    model = Plain().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert check_model(model, examples=2, max_length=3).ok
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_refusal_is_a_limit():
    class Refuses(Plain):
        def forward(self, x, mask=None):
            if mask is not None and not mask.all():
                raise NotImplementedError("padding is not supported")
            return self.linear(x)

    report = check_model(Refuses(), properties=["left padding"], examples=5)
    assert (report["left padding"].verdict, report.ok) == ("limit", True)
    assert report["left padding"].reason == "the model refuses it: padding is not supported"


def test_an_error_is_a_violation():
    class Breaks(Plain):
        def forward(self, x, mask=None):
            return self.linear(x) * (len(x) == 1 or 1 // (x.shape[1] - 1) >= 0)

    finding = check_model(Breaks(), properties=["batch-mates"], examples=10)["batch-mates"]
    assert finding.verdict == "violated"
    assert finding.error.startswith("ZeroDivisionError")


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (3, {}, "model is of type int; give a torch.nn.Module, or a function"),
        (lambda: 3, {}, r"<lambda>\(\) returns int; give a torch.nn.Module"),
        (Plain(), {"properties": ["casuality"]}, "there is no property 'casuality'; did you mean causality"),
        (Plain(), {"examples": 0}, "examples=0 must be an integer of at least 1"),
        (Plain(), {"max_length": 1}, "max_length=1 leaves nothing before or after an element"),
        (nn.Identity(), {}, "what Identity reads is not known"),
    ],
)
def test_bad_input(model, options, message):
    with pytest.raises(ValueError, match=message):
        check_model(model, **options)
