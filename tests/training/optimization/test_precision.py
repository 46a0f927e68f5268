"""Autocast and the scale of the loss."""

import pytest
import torch
from torch import nn

from sma.training.optimization.precision import SMALLEST_SCALE, Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_products_are_computed_in_it(name: str, dtype: torch.dtype) -> None:
    precision = Precision(name, CPU)  # type: ignore[arg-type]
    with precision.autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype
    assert (precision.scale is None) == (name != "float16")


@pytest.mark.parametrize("name", ["float32", "float16"])
def test_gradients_have_their_true_size(name: str) -> None:
    precision = Precision(name, CPU)  # type: ignore[arg-type]
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    precision.backward((weight * torch.tensor([1.0, 3.0])).sum())
    precision.unscale(optimizer)
    assert weight.grad is not None
    assert weight.grad.tolist() == [1, 3]
    precision.step(optimizer)
    assert weight.tolist() == [0.5, -0.5]


def test_a_small_scale_is_not_tried_again() -> None:
    precision = Precision("float16", CPU)
    assert precision.skips(float("inf"))
    assert not precision.skips(1.0)
    assert precision.scaler is not None
    precision.scaler.load_state_dict({**precision.scaler.state_dict(), "scale": SMALLEST_SCALE / 2})
    assert not precision.skips(float("inf"))
    assert not Precision("bfloat16", CPU).skips(float("inf"))
