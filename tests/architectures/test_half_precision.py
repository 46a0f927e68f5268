"""Half precision stores numbers; recurrences are computed in float32 at least."""

import copy

import pytest
import torch

from sma.architectures import seqboat_block
from sma.modules import MultiHeadEMA

HALF = pytest.mark.parametrize(("dtype", "unit"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
LENGTH, D = 2000, 4


def slow_ema(**options):
    """A moving average that remembers thousands of elements: decays from 0.98 to 0.9998."""
    torch.manual_seed(0)
    ema = MultiHeadEMA(D, d_state=8, **options)
    with torch.no_grad():
        ema.delta.uniform_(-4, -2)
        ema.alpha.uniform_(-4, 2)
    return ema


@HALF
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"truncation": 700}])
def test_only_the_result_of_a_moving_average_is_rounded(dtype, unit, options):
    ema = slow_ema(**options).to(dtype)
    x = torch.randn(2, LENGTH, D).to(dtype)
    exact = copy.deepcopy(ema).double()(x.double())
    y = ema(x)
    assert y.dtype == dtype
    assert ((y.double() - exact).abs() <= 1.01 * unit * exact.abs() + 1e-5).all()


def test_autocast_leaves_moving_averages_alone():
    ema, x = slow_ema(), torch.randn(2, 300, D)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ema(x), ema(x.clone()))
        inside = ema(x)
    assert torch.equal(inside, ema(x))


@HALF
def test_decoding_does_not_drift(dtype, unit):
    ema = slow_ema().to(dtype)
    x = torch.randn(1, 400, D).to(dtype)
    state = ema.init_state(1, dtype=dtype)
    assert all(t.dtype == torch.float32 for _, t in state.tensors() if t.is_floating_point())
    steps = torch.cat([ema.step(x[:, t : t + 1], state) for t in range(400)], 1)
    exact = copy.deepcopy(ema).double()(x.double())
    assert ((steps.double() - exact).abs() <= 1.01 * unit * exact.abs() + 1e-5).all()


@HALF
def test_a_layer(dtype, unit):
    torch.manual_seed(0)
    block = seqboat_block(d_qk=8, window=20, d_state=4).build(16).to(dtype)
    with torch.no_grad():  # far from the border, so that rounding flips no decision
        block.branches[1].router.projection.bias.copy_(torch.tensor([-3.0, 3.0]))
    x = torch.randn(2, 300, 16).to(dtype)
    exact = copy.deepcopy(block).double()(x.double())
    error = (block(x).double() - exact).abs().max() / exact.abs().max()
    assert error < 4 * unit
