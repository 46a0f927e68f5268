import pytest
import torch
from torch import Tensor

from sma.modules.ssm import selective_scan as scanning
from sma.modules.ssm.mamba2 import _log_of_zero
from sma.modules.ssm.selective_scan import selective_scan


def random_inputs(length: int) -> list[Tensor]:
    shapes = [(2, length, 3, 2), (2, length, 3), (2, length, 4), (2, length, 4), (2, 3, 2, 4)]
    x, log_decay, write, read, initial = (torch.randn(s, dtype=torch.float64) for s in shapes)
    return [x, -log_decay.abs(), write, read, initial]


def slow(x: Tensor, log_decay: Tensor, write: Tensor, read: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.zeros_like(x)
    for t in range(x.shape[1]):
        h = log_decay[:, t, :, None, None].exp() * h + torch.einsum("bhp,bs->bhps", x[:, t], write[:, t])
        y[:, t] = torch.einsum("bhps,bs->bhp", h, read[:, t])
    return y, h


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, 27])
@pytest.mark.parametrize("from_zero", [False, True])
def test_chunks_equal_the_loop(monkeypatch: pytest.MonkeyPatch, length: int, from_zero: bool) -> None:
    monkeypatch.setattr(scanning, "CHUNK", 8)
    *inputs, initial = random_inputs(length)
    got = selective_scan(*inputs, None if from_zero else initial)
    want = slow(*inputs, torch.zeros_like(initial) if from_zero else initial)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_gradients_of_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "CHUNK", 4)
    inputs = [tensor.requires_grad_() for tensor in random_inputs(11)]
    assert torch.autograd.gradcheck(selective_scan, inputs, fast_mode=True)


def test_decays_that_underflow_give_finite_gradients() -> None:
    inputs = [tensor.float().requires_grad_() for tensor in random_inputs(300)]
    inputs[1] = (1e3 * inputs[1].detach()).requires_grad_()
    y, h = selective_scan(*inputs)
    (y.sum() + h.sum()).backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in inputs)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_forgets_everything_costs_later_elements_no_digits(share: float) -> None:
    x, log_decay, write, read, initial = random_inputs(300)
    log_decay = 0.01 * log_decay
    log_decay[torch.rand(log_decay.shape) < share] = _log_of_zero(torch.float32)
    inputs = [x, log_decay, write, read]
    y, _ = selective_scan(*(z.float() for z in inputs))
    want, _ = slow(*inputs, torch.zeros_like(initial))
    assert (y.double() - want).norm() < (1e-4 if share else 1e-6) * want.norm()
