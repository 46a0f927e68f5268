"""Compose a layer by hand: a router, two unlike sub-modules, and a look at what was activated."""

import torch

import sma
from sma.modules import GAU, GatedFeedForward, LatentConfigurator

torch.manual_seed(0)
layer = sma.SMA(
    LatentConfigurator(64, n_modules=2),
    [GAU(64, d_qk=32, window=16), GatedFeedForward(64, d_hidden=128)],
)
x = torch.randn(4, 100, 64)
mask = torch.arange(100) < torch.tensor([100, 80, 60, 1])[:, None]  # rows of different length

with sma.record(layer) as recording:
    y = layer(x, mask)

record = recording.layers[0]
for name, rate, flops in zip(("GAU", "feed-forward"), record.activation_rate, record.flops, strict=True):
    print(f"{name}: {rate:.0%} of the elements, {flops:,} floating-point operations")
assert torch.all(y[~mask] == 0)
