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
