import cmath
import math

import pytest
import torch
from torch import Tensor

from sma.modules import S4D
from sma.testing import SequenceModuleContract


class TestCausal(SequenceModuleContract):
    def make(self) -> S4D:
        return S4D(self.d_model, d_state=4)


class TestBidirectional(SequenceModuleContract):
    def make(self) -> S4D:
        return S4D(self.d_model, d_state=4, bidirectional=True)


def solved(ssm: S4D, x: Tensor) -> Tensor:
    """The differential equation, with both modes of each pair, stepped by matrix exponentials."""
    y = ssm.omega * x
    for d in range(x.shape[-1]):
        rate = -ssm.log_decay[d].exp() + 1j * ssm.frequency[d]
        equation = torch.zeros(
            2 * len(rate) + 1, 2 * len(rate) + 1, dtype=rate.dtype
        )  # of (h, x), x constant
        equation[:-1, :-1] = torch.diag(torch.cat([rate, rate.conj()]))
        equation[:-1, -1] = 1
        solution = torch.linalg.matrix_exp(equation * ssm.log_step[d].exp())
        advance, enter = solution[:-1, :-1], solution[:-1, -1:]
        for direction in range(len(ssm.read_out)):
            c = torch.complex(*ssm.read_out[direction, d].unbind(-1))
            c = torch.cat([c, c.conj()])
            h, outputs = torch.zeros(len(c), len(x), dtype=c.dtype), []
            for u in (x.flip(1) if direction else x)[..., d].unbind(1):
                h = advance @ h + enter * u
                outputs.append((c @ h).real)
            total = torch.stack(outputs, 1)
            y[..., d] += total.flip(1) if direction else total
    return y


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("length", [1, 64, 100])
def test_forward_solves_the_equation(length: int, bidirectional: bool) -> None:
    ssm = S4D(2, d_state=6, bidirectional=bidirectional).double().requires_grad_(False)
    ssm.log_decay.add_(torch.randn_like(ssm.log_decay))
    x = torch.randn(2, length, 2, dtype=torch.float64)
    torch.testing.assert_close(ssm(x), solved(ssm, x))  # 1e-7: matrix_exp is off by 1e-9 here


def test_steps_across_chunks_equal_the_whole() -> None:
    ssm, x = S4D(3, d_state=6).double(), torch.randn(2, 230, 3, dtype=torch.float64)
    state = ssm.init_state(2)
    with torch.no_grad():
        stepped = torch.cat([ssm.step(piece, state) for piece in x.split([1, 100, 4, 70, 55], 1)], 1)
    torch.testing.assert_close(stepped, ssm(x))


def test_long_rows_in_float32() -> None:
    ssm = S4D(4, d_state=16)
    x = torch.randn(1, 5000, 4)
    y = ssm(x)
    torch.testing.assert_close(y.double(), ssm.double()(x.double()), rtol=1e-4, atol=1e-4)


def test_initialisation() -> None:
    ssm = S4D(100, d_state=8, step_min=0.01, step_max=0.02)
    assert torch.allclose(ssm.frequency, math.pi * torch.arange(4.0).expand(100, 4))
    assert torch.allclose(ssm.log_decay.exp(), torch.tensor(0.5))
    step = ssm.log_step.exp()
    assert ((step > 0.0099) & (step < 0.0201)).all()
    assert ssm.read_out.shape == (1, 100, 4, 2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"d_state": 5}, "d_state=5 must be even"),
        ({"d_state": 0}, "d_state=0 must be an integer of at least 1"),
        ({"step_min": 0.0}, "0 < step_min <= step_max"),
        ({"step_min": 0.2}, "0 < step_min <= step_max"),
    ],
)
def test_errors(bad: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        S4D(4, **bad)


def test_repr() -> None:
    assert "S4D(4, d_state=8, bidirectional=False, step_min=0.001, step_max=0.1)" in repr(S4D(4, d_state=8))


def kernel(ssm: S4D, n: int) -> Tensor:
    """`(D, n)`: the kernel lag by lag in Python's complex numbers, with the limits of extreme parameters."""
    values = torch.zeros(ssm.d_model, n, dtype=torch.float64)
    log_step, log_decay, frequency, read_out = (
        p.double().tolist() for p in (ssm.log_step, ssm.log_decay, ssm.frequency, ssm.read_out[0])
    )
    for d in range(ssm.d_model):
        for s in range(len(frequency[d])):
            step, rate = math.exp(min(log_step[d], 700)), math.exp(min(log_decay[d][s], 700))
            a, c = complex(-rate, frequency[d][s]), complex(*read_out[d][s])
            z = complex(max(-rate * step, -1e5), frequency[d][s] * step)
            entering = (cmath.exp(z) - 1) / a if abs(z) > 1e-9 else step
            for j in range(n):
                values[d, j] += (2 * c * entering * cmath.exp(j * z)).real
    return values


@pytest.mark.parametrize("log_step", [-200.0, -3.0, 5.0, 20.0, 100.0, 1e4])
@pytest.mark.parametrize("log_decay", [-200.0, -3.0, 5.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_decays(log_step: float, log_decay: float, dtype: torch.dtype) -> None:
    """Decays of 0 and of 1, with the frequency 0, which stays a real mode; a step of 1e4 or a rate of 0."""
    ssm = S4D(2, d_state=4).to(dtype)
    with torch.no_grad():
        ssm.log_step.fill_(log_step)
        ssm.log_decay.fill_(log_decay)
        if log_step > 0:  # far around the circle no dtype knows the angle
            ssm.frequency.zero_()
    x = torch.randn(1, 100, 2, dtype=dtype)
    if log_decay == -200 and log_step >= 20:
        assert ssm(x).isfinite().all()  # the sum of unbounded steps
        return
    k = kernel(ssm, 100)
    k[:, 0] += ssm.omega.detach().double()
    lags = torch.arange(100)[:, None] - torch.arange(100)
    matrix = k[:, lags.clamp(min=0)].masked_fill(lags < 0, 0)
    want = torch.einsum("dts,bsd->btd", matrix, x.double())
    y = ssm(x)
    scale = float(want.abs().max())
    torch.testing.assert_close(y.double(), want, rtol=1e-4, atol=1e-5 * scale)
    with torch.no_grad():
        torch.testing.assert_close(
            ssm.step(x[:, :10], ssm.init_state(1)), y[:, :10], rtol=1e-4, atol=1e-5 * scale
        )
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in ssm.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_long_rows_in_half_precision(dtype: torch.dtype) -> None:
    ssm = S4D(4, d_state=16).requires_grad_(False)
    x = torch.randn(1, 8192, 4).to(dtype)
    want = ssm.double()(x.double())
    error = ssm.float().to(dtype)(x).double() - want
    assert error.norm() < 2**-8 * want.norm()
