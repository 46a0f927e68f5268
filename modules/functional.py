"""The linear layer as the published models initialise it."""

import torch
from torch import Tensor, nn


def truncated_normal(*shape: int, mean: float = 0.0, std: float = 0.02) -> nn.Parameter:
    """A parameter drawn from a normal distribution that is cut at two standard deviations."""
    return nn.Parameter(truncated_normal_(torch.empty(shape), mean=mean, std=std))


def truncated_normal_(tensor: Tensor, *, mean: float = 0.0, std: float = 0.02) -> Tensor:
    """Fill a tensor in place; the bounds are `mean - 2 std` and `mean + 2 std`."""
    return nn.init.trunc_normal_(tensor, mean, std, mean - 2 * std, mean + 2 * std)


def linear(d_in: int, d_out: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer with truncated normal weights, std 0.02, and zero bias."""
    layer = nn.Linear(d_in, d_out, bias=bias)
    truncated_normal_(layer.weight.data)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
