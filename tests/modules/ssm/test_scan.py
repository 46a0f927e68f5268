from typing import Any

import pytest
import torch
from torch import Tensor

from sma.modules.ssm.scan import _scan_op, scan, shift


def slow(states: Tensor, log_decay: Tensor) -> Tensor:
    decay = log_decay.exp().expand(states.shape)
    h, result = torch.zeros_like(states[..., :1, :]), []
    for g in range(states.shape[-2]):
        h = decay[..., g : g + 1, :] * h + states[..., g : g + 1, :]
        result.append(h)
    return torch.cat(result, -2) if result else states


@pytest.mark.parametrize("run", [scan, _scan_op], ids=["plain", "operation"])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, 13])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("constant", [True, False])
def test_scan_equals_the_loop(run: Any, n: int, dtype: torch.dtype, constant: bool) -> None:
    states = torch.randn(2, 3, n, 4, dtype=dtype)
    log_decay = torch.randn(3, 1 if constant else n, 4, dtype=dtype)
    log_decay = log_decay - log_decay.real.abs() - 0.1
    torch.testing.assert_close(run(states, log_decay), slow(states, log_decay), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("run", [scan, _scan_op], ids=["plain", "operation"])
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("constant", [True, False])
def test_gradients(run: Any, n: int, dtype: torch.dtype, constant: bool) -> None:
    states = torch.randn(2, n, 3, dtype=dtype, requires_grad=True)
    log_decay = -torch.rand(2, 1 if constant else n, 1, dtype=torch.float64).to(dtype)
    log_decay = (log_decay + 0.3j if dtype.is_complex else log_decay).requires_grad_()
    assert torch.autograd.gradcheck(run, (states, log_decay))


def test_decays_that_underflow() -> None:
    log_decay = torch.full((1, 1), -1e4).requires_grad_()
    states = torch.randn(37, 1)
    h = scan(states, log_decay)
    h.sum().backward()
    assert torch.equal(h, states)
    assert torch.equal(log_decay.grad, torch.zeros(1, 1))


def test_shift() -> None:
    x = torch.arange(1.0, 4.0)[:, None]
    assert shift(x, 1).squeeze().tolist() == [0, 1, 2]
    assert shift(x, -2).squeeze().tolist() == [3, 0, 0]
    assert shift(x, 0) is x
