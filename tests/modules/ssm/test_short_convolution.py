import pytest
import torch
from torch.nn import functional as F

from sma.modules.ssm import short_convolution as convolving
from sma.modules.ssm.short_convolution import short_convolution


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(convolving, "_TILE", 4)


def draws(n_rows, length, size=3):
    shapes = [(n_rows, length + size - 1, 5), (size, 5), (5,)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("length", [0, 1, 2, 4, 11])
@pytest.mark.parametrize("n_rows", [0, 1, 5])
def test_equals_torchs_convolution_with_its_gradients(n_rows, length, size):
    tensors = x, kernel, bias = draws(n_rows, length, size)
    y = short_convolution(*tensors)
    want = torch.zeros(n_rows, length, 5, dtype=torch.float64)
    if want.numel():
        filters = kernel.T.unsqueeze(1)
        want = F.silu(F.conv1d(x.mT, filters, bias, groups=5)).mT
    torch.testing.assert_close(y, want)
    weight = torch.randn_like(want)
    got = torch.autograd.grad(y, tensors, weight)
    if want.numel():
        for a, b in zip(got, torch.autograd.grad(want, tensors, weight), strict=True):
            torch.testing.assert_close(a, b)
    else:
        assert not any(z.any() for z in got)


def test_second_derivatives_and_forward_mode():
    tensors = draws(2, 6)
    assert torch.autograd.gradgradcheck(short_convolution, tensors)
    tangents = [torch.randn_like(z) for z in tensors]
    _, got = torch.func.jvp(short_convolution, tuple(tensors), tuple(tangents))
    y = short_convolution(*tensors)
    weight = torch.randn_like(y)
    want = sum((g * t).sum() for g, t in zip(torch.autograd.grad(y, tensors, weight), tangents, strict=True))
    torch.testing.assert_close((got * weight).sum(), want)
