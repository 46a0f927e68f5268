import itertools

import pytest
import torch
from torch import Tensor

from sma.modules.ssm import chunks
from sma.modules.ssm.recurrence import Modes, convolve, final_state

LENGTHS = [0, 1, 7, 8, 9, 16, 30]  # with chunks of 8
TRUNCATIONS = [None, 1, 7, 8, 9, 10, 16, 17, 24, 29, 40]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 8)


def random_modes(d_model: int = 3, d_state: int = 2, dtype: torch.dtype = torch.float64) -> Modes:
    log_decay = -torch.rand(d_model, d_state, dtype=torch.float64).to(dtype)
    if dtype.is_complex:
        log_decay = log_decay + 1j * torch.randn(d_model, d_state)
    return Modes(log_decay.requires_grad_(), torch.randn(d_model, d_state, dtype=dtype, requires_grad=True))


def slow_kernel(modes: Modes, length: int, truncation: int | None) -> Tensor:
    kernel = torch.stack([(modes.gain * modes.log_decay.exp() ** j).real.sum(-1) for j in range(length + 1)])
    return kernel * (torch.arange(length + 1) < (truncation or length + 1))[:, None]


def slow_convolve(
    x: Tensor, past: Modes, future: Modes | None, skip: Tensor, truncation: int | None
) -> Tensor:
    length = x.shape[1]
    y = [skip * x[:, t] for t in range(length)]
    forth = slow_kernel(past, length, truncation)
    back = slow_kernel(future, length, truncation) if future is not None else torch.zeros_like(forth)
    for t, s in itertools.product(range(length), repeat=2):
        y[t] = y[t] + (forth[t - s] if s <= t else 0) * x[:, s] + (back[s - t] if s >= t else 0) * x[:, s]
    return torch.stack(y, 1) if y else x


@pytest.mark.parametrize("both", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_convolve_equals_the_dense_sum(dtype: torch.dtype, both: bool) -> None:
    past, future = random_modes(dtype=dtype), random_modes(dtype=dtype) if both else None
    skip = torch.randn(3, dtype=torch.float64)
    for length, truncation in itertools.product(LENGTHS, TRUNCATIONS):
        x = torch.randn(2, length, 3, dtype=torch.float64)
        y = convolve(x, past, future, skip=skip, truncation=truncation)
        want = slow_convolve(x, past, future, skip, truncation)
        torch.testing.assert_close(y, want, rtol=1e-12, atol=1e-12, msg=f"{length=} {truncation=}")


@pytest.mark.parametrize("truncation", [None, 8, 13, 16])
@pytest.mark.parametrize("both", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_gradients(dtype: torch.dtype, both: bool, truncation: int | None) -> None:
    x = torch.randn(2, 27, 2, dtype=torch.float64, requires_grad=True)
    skip = torch.randn(2, dtype=torch.float64, requires_grad=True)
    modes = [random_modes(2, 2, dtype) for _ in range(1 + both)]
    leaves = [leaf for m in modes for leaf in (m.log_decay, m.gain)]

    def run(x: Tensor, skip: Tensor, *leaves: Tensor) -> Tensor:
        past, *future = (Modes(*pair) for pair in zip(leaves[::2], leaves[1::2], strict=True))
        return convolve(x, past, *future, skip=skip, truncation=truncation)

    assert torch.autograd.gradcheck(run, (x, skip, *leaves), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, skip, *leaves), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("length", LENGTHS[1:])
def test_a_row_continues_from_its_state(dtype: torch.dtype, length: int) -> None:
    modes, skip = random_modes(dtype=dtype), torch.randn(3, dtype=torch.float64)
    x = torch.randn(2, 11 + length, 3, dtype=torch.float64)
    initial = final_state(x[:, :11], modes)
    h = torch.zeros(2, 3, 2, dtype=dtype)
    for t in range(11):
        h = modes.log_decay.exp() * h + x[:, t, :, None]
    torch.testing.assert_close(initial, h)
    y = convolve(x[:, 11:], modes, skip=skip, initial=initial)
    torch.testing.assert_close(y, convolve(x, modes, skip=skip)[:, 11:])


def test_long_rows_with_decays_that_underflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 64)
    log_decay = -torch.logspace(-8, 2, 11).expand(2, 11).clone().requires_grad_()
    modes = Modes(log_decay, torch.ones_like(log_decay, requires_grad=True))
    x = torch.randn(1, 5000, 2, requires_grad=True)
    y = convolve(x, modes, modes, skip=torch.ones(2), truncation=3000)
    for gradient in torch.autograd.grad(y.square().mean(), (x, log_decay, modes.gain)):
        assert torch.isfinite(gradient).all()
    double = Modes(log_decay.double(), modes.gain.double())
    want = convolve(x.double(), double, double, skip=torch.ones(2).double(), truncation=3000)
    torch.testing.assert_close(y.double(), want, rtol=0, atol=1e-5 * float(want.detach().abs().max()))
