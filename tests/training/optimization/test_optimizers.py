"""Optimizers by name, and what they are refused for."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from sma.spec.errors import one_line
from sma.training.optimization.optimizers import AdamWSpec, OptimizerSpec, TorchOptimizerSpec


@pytest.mark.parametrize("name", ["SGD", "NAdam", "Adagrad", "Adafactor", "RMSprop", "Rprop", "ASGD"])
def test_optimizers_of_torch(name: str) -> None:
    model = nn.Linear(3, 2)
    optimizer = TorchOptimizerSpec(name=name).of_model(model, 0.01)
    assert type(optimizer) is getattr(torch.optim, name)
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}
    before = model.weight.detach().clone()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "SGDD"}, "torch.optim has no optimizer 'SGDD'; did you mean SGD"),
        ({"name": "LBFGS"}, "LBFGS cannot train here, since it calls the model several times"),
        ({"name": "Optimizer"}, "has no optimizer 'Optimizer'"),
        ({"name": "SGD", "arguments": {"lr": 0.1}}, "gets no 'lr' here: set learning_rate of the run"),
        ({"name": "SGD", "arguments": {"momentun": 0.1}}, "no argument 'momentun'; did you mean momentum"),
        ({"name": "SGD", "arguments": {"momentum": -1}}, "SGD does not take these arguments (ValueError"),
        ({"name": "SGD", "arguments": {"momentum": {}}}, "arguments.momentum"),
        ({"name": "NAdam", "arguments": {"betas": "ab"}}, "NAdam does not take these arguments"),
        ({"name": "SGD", "arguments": {f"a{i}": 1 for i in range(40)}}, "at most 32"),
    ],
)
def test_what_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        TorchOptimizerSpec(**values)
    line = one_line(error.value)
    assert message in line
    assert "\n" not in line


def test_an_optimizer_that_cannot_train_a_model() -> None:
    with pytest.raises(ValueError, match=r"Muon cannot train this model .*; use another one"):
        TorchOptimizerSpec(name="Muon").of_model(nn.Linear(2, 2), 0.1)


@pytest.mark.parametrize("spec", [AdamWSpec(weight_decay=0.5), TorchOptimizerSpec(
    name="AdamW", arguments={"weight_decay": 0.5}
)])  # fmt: skip
def test_weight_decay_spares_biases_unless_all_are_decayed(spec: OptimizerSpec) -> None:
    for decayed in ("weights", "all"):
        model = nn.Linear(2, 2)
        nn.init.ones_(model.weight)
        nn.init.ones_(model.bias)
        optimizer = spec.model_copy(update={"decayed": decayed}).of_model(model, 0.1)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        torch.testing.assert_close(model.weight, torch.full((2, 2), 0.95))
        torch.testing.assert_close(model.bias, torch.full((2,), 1.0 if decayed == "weights" else 0.95))
