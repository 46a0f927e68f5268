"""Half precision stores numbers; recurrences are computed in float32 at least."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

import sma
from sma.architectures import seqboat, seqboat_block
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


def language_model(mode, **options):
    """A model in float32, the same in half precision, and the context that the latter runs in."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "d_model": 16, "n_layers": 2, "d_qk": 8, "d_state": 4, "window": 5}
    half = seqboat(**sizes, **options).build()
    if mode == "autocast":
        return half, half, torch.autocast("cpu", dtype=torch.bfloat16)
    half = half.bfloat16()
    return copy.deepcopy(half).float(), half, nullcontext()


def training_step(model, tokens):
    with sma.record(model) as recording:
        scores = model(tokens)
    F.cross_entropy(scores[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    return scores.detach(), torch.cat([p.grad.flatten() for p in model.parameters()]), recording


MODES = pytest.mark.parametrize("mode", ["autocast", "weights"])
OPTIONS = pytest.mark.parametrize(
    "options", [{}, {"attention": "laplace", "position": {"kind": "learned", "max_positions": 64}}]
)


@MODES
@OPTIONS
def test_a_model_trains_in_bfloat16(mode, options):
    exact, half, context = language_model(mode, **options)
    tokens = torch.randint(11, (3, 60))
    scores, gradient, recording = training_step(exact, tokens)
    assert all(0.1 < rate < 0.9 for rates in recording.activation_rates.values() for rate in rates)
    half.zero_grad()
    with context:
        half_scores, half_gradient, _ = training_step(half, tokens)
    assert half_scores.dtype == torch.bfloat16
    assert (half_scores - scores).abs().max() < 4 * 2**-8 * scores.abs().max()
    assert (half_gradient - gradient).norm() < 0.05 * gradient.norm()
    torch.optim.AdamW(half.parameters(), lr=1e-3).step()
    with context:
        assert torch.isfinite(half(tokens)).all()


@MODES
@OPTIONS
@torch.no_grad()
def test_a_model_decodes_in_bfloat16(mode, options):
    exact, half, context = language_model(mode, **options)
    tokens = torch.randint(11, (3, 60))
    with context:
        first, state = half.prefill(tokens[:, :40])
        scores = torch.cat([first, *(half.step(tokens[:, t], state).unsqueeze(1) for t in range(40, 60))], 1)
    assert scores.dtype == torch.bfloat16
    expected = exact(tokens)
    assert (scores - expected).abs().max() < 4 * 2**-8 * expected.abs().max()
