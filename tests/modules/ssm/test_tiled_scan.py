import itertools

import pytest
import torch

from sma.modules.ssm import selective_scan as scanning
from sma.modules.ssm import tiled_scan as tiling
from sma.modules.ssm.kernel_paths import scan_selectively
from sma.modules.ssm.selective_scan import selective_scan


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(scanning, "CHUNK", 4)
    monkeypatch.setattr(tiling, "_WORKSPACE", 2 * 3 * 4**2)  # two chunks at a time


def inputs(n_rows, length, initial):
    shapes = [(n_rows, length, 3, 2), (n_rows, length, 3), (n_rows, length, 5), (n_rows, length, 5)]
    x, log_decay, write, read = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    state = torch.randn(n_rows, 3, 2, 5, dtype=torch.float64) if initial else None
    return [x, -log_decay.abs(), write, read, *([] if state is None else [state])]


def test_equals_the_plain_scan_with_its_gradients():
    for n_rows, length, initial in itertools.product((0, 1, 2), (0, 1, 4, 11, 17), (False, True)):
        tensors = [z.requires_grad_() for z in inputs(n_rows, length, initial)]
        got, want = scan_selectively(*tensors), selective_scan(*tensors)
        weights = [torch.randn_like(z) for z in want]
        grads = (torch.autograd.grad(z, tensors, weights, materialize_grads=True) for z in (got, want))
        for a, b in (*zip(got, want, strict=True), *zip(*grads, strict=True)):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_derivatives():
    tensors = [z.requires_grad_() for z in inputs(1, 6, True)]
    assert torch.autograd.gradcheck(scan_selectively, tensors)
    assert torch.autograd.gradgradcheck(scan_selectively, tensors, fast_mode=True)


def test_decays_to_nothing_stay_finite(monkeypatch):
    monkeypatch.setattr(scanning, "CHUNK", 64)
    x, log_decay, write, read = (z.float() for z in inputs(1, 150, False))
    tensors = [z.requires_grad_() for z in (x, 100 * log_decay, write, read)]
    grads = torch.autograd.grad(sum(z.sum() for z in scan_selectively(*tensors)), tensors)
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_the_workspace_bounds_what_is_computed_together(monkeypatch):
    most = []
    products = tiling._Parts.decays
    monkeypatch.setattr(
        tiling._Parts, "decays", lambda *call: most.append(products(*call)) or most[-1].clone()
    )
    scan_selectively(*inputs(2, 16, False))
    assert [z.numel() for z in most] == [tiling._WORKSPACE] * 4
