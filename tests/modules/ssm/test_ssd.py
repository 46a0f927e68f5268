import pytest
import torch
from torch import Tensor

from sma.modules.ssm import ssd
from sma.modules.ssm.ssd import selective_scan


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
    monkeypatch.setattr(ssd, "CHUNK", 8)
    *inputs, initial = random_inputs(length)
    got = selective_scan(*inputs, None if from_zero else initial)
    want = slow(*inputs, torch.zeros_like(initial) if from_zero else initial)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssd, "CHUNK", 4)
    inputs = [tensor.requires_grad_() for tensor in random_inputs(11)]
    assert torch.autograd.gradcheck(selective_scan, inputs, fast_mode=True)


def test_decays_that_underflow_give_finite_gradients() -> None:
    inputs = [tensor.float().requires_grad_() for tensor in random_inputs(300)]
    inputs[1] = (1e3 * inputs[1].detach()).requires_grad_()
    y, h = selective_scan(*inputs)
    (y.sum() + h.sum()).backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in inputs)
