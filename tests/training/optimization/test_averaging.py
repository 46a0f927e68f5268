"""The average of weights, against its definition."""

import torch
from torch import nn

from sma.training.optimization.averaging import averaged


def test_the_average_of_a_walk() -> None:
    model = nn.BatchNorm1d(2)
    average = averaged(model, 0.75)
    expected = None
    for value in torch.randn(5, 2):
        with torch.no_grad():
            model.weight.copy_(value)
        model.running_mean = value + 1
        average.update_parameters(model)
        expected = value if expected is None else 0.75 * expected + 0.25 * value
    torch.testing.assert_close(average.module.weight, nn.Parameter(expected))
    torch.testing.assert_close(average.module.running_mean, model.running_mean)  # statistics are not averaged


def test_tied_weights_stay_tied() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    average = averaged(model, 0.5)
    average.update_parameters(model)
    assert average.module[1].weight is average.module[0].weight
