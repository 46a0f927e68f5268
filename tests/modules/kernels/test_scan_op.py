"""The kernels of the selective scan in Triton's interpreter against plain torch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_parity import Scan, close

from sma.modules import SelectiveSSM, kernel_backend
from sma.modules.kernels import scan_op
from sma.modules.ssm.kernel_paths import scan_selectively


@pytest.fixture(autouse=True, scope="module")
def _short_chunks():
    """The interpreter takes a millisecond per operation."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("CHUNK", 16), ("WIDTH", 16), ("STATES", 64)):
            patch.setattr(scan_op, name, size)
        yield


@settings(max_examples=6)
@given(
    st.builds(
        Scan,
        rows=st.integers(0, 2),
        length=st.integers(0, 40),
        n_heads=st.integers(1, 2),
        d_head=st.sampled_from([1, 5, 17]),
        d_state=st.sampled_from([1, 6, 17]),
        initial=st.booleans(),
    )
)
def test_equals_plain_torch(call):
    call.compare()


def test_gradients_of_all_parameters():
    layer = SelectiveSSM(4, d_state=3, d_head=4)
    x, results = torch.randn(1, 20, 4, requires_grad=True), []
    for backend in ("triton", "plain"):
        with kernel_backend(backend):
            y = layer(x)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])])
    close(*results, torch.float32)


def test_second_derivatives_are_those_of_plain_torch():
    call, results = Scan(rows=1, length=4, n_heads=1), []
    for backend in ("triton", "plain"):
        with kernel_backend(backend):
            leaves, (y, _) = call.run()
            (of_x,) = torch.autograd.grad(y.square().sum(), leaves[0], create_graph=True)
            results.append(torch.autograd.grad(of_x.square().sum(), leaves[:4]))
    close(*results, torch.float32)


def test_the_operation_serves_the_compiler():
    leaves, _ = Scan(rows=1, length=9, n_heads=1, initial=True).run()
    torch.library.opcheck(scan_op.fused_scan, tuple(leaves))


def test_decays_of_zero_and_of_one():
    """The gradient of a decay is a difference, which rounds by the size of its parts."""
    leaves, _ = Scan(rows=1, length=9).run()
    results = []
    for value in (-110.0, 0.0):
        decay = torch.full_like(leaves[1], value).requires_grad_()
        for backend in ("triton", "plain"):
            with kernel_backend(backend):
                y, _ = scan_selectively(leaves[0], decay, *leaves[2:4])
            of_x, of_decay = torch.autograd.grad(y.square().sum(), [leaves[0], decay])
            results.append([y, of_x, of_decay + y.square().sum()])
        close(*results[-2:], torch.float32)


def test_what_the_kernels_do_not_take():
    leaves, _ = Scan(rows=1, length=3).run()
    with kernel_backend("triton"), pytest.raises(ValueError, match=r"in float32, not in torch\.float64"):
        scan_selectively(*(z.double() for z in leaves))
