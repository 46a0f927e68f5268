"""A sub-module in a package of its own: attention over a learned table of key-value pairs."""

from typing import Literal

import torch
from torch import nn

from sma import Pointwise
from sma.architectures import SubModuleSpec
from sma.architectures.specs.fields import Size


class MemoryLookup(nn.Module):
    """Softmax attention of every element over `n_slots` learned key-value pairs, `(T, D) -> (T, D)`."""

    def __init__(self, d_model: int, n_slots: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(n_slots, d_model) * d_model**-0.5)
        self.values = nn.Parameter(torch.randn(n_slots, d_model) * d_model**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Look up every element."""
        return (x @ self.keys.T).softmax(-1) @ self.values


class MemoryLookupSpec(SubModuleSpec):
    """Builds `MemoryLookup`. The entry point in pyproject.toml makes its kind known."""

    kind: Literal["memory_lookup"] = "memory_lookup"
    n_slots: Size = 32

    def build(self, d_model: int) -> Pointwise:
        """A sub-module of elements `(T, d_model)`."""
        return Pointwise(MemoryLookup(d_model, self.n_slots))
