"""The kernels of the diagonal recurrence in Triton's interpreter against plain torch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_parity import Recurrence, close

from sma.modules import S4D, Modes, MultiHeadEMA, kernel_backend
from sma.modules.kernels import recurrence_op
from sma.modules.ssm.kernel_paths import convolve_modes


@pytest.fixture(autouse=True, scope="module")
def _short_chunks():
    """The interpreter takes a millisecond per operation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurrence_op, "CHUNK", 4)
        yield


@settings(max_examples=6)
@given(
    st.builds(
        Recurrence,
        rows=st.integers(0, 2),
        length=st.integers(0, 9),
        d_model=st.sampled_from([1, 5]),
        d_state=st.sampled_from([1, 3]),
        complex=st.booleans(),
        bidirectional=st.booleans(),
        truncation=st.none() | st.integers(1, 6),
    )
)
def test_equals_plain_torch(call):
    call.compare()


@pytest.mark.parametrize("complex", [False, True])
def test_more_channels_and_modes_than_a_program_has(complex):
    Recurrence(rows=1, length=5, d_model=33, d_state=17, complex=complex).compare()


@pytest.mark.parametrize("complex", [False, True])
def test_an_initial_state(complex):
    Recurrence(length=6, complex=complex, initial=True).compare()


@pytest.mark.parametrize("layer", [MultiHeadEMA(3, d_state=2, bidirectional=True), S4D(3, d_state=4)])
def test_gradients_of_all_parameters(layer):
    x, results = torch.randn(1, 7, 3, requires_grad=True), []
    for backend in ("triton", "plain"):
        with kernel_backend(backend):
            y = layer(x)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])])
    close(*results, torch.float32)


def test_a_slow_decay_keeps_its_digits():
    """A decay of 1 - 2e-8 rounds to 1 in float32; over the row it makes 4 %."""
    length = 2_000_000
    decay = torch.full((1, 1), -2e-8)
    first = torch.zeros(1, 1, 1)
    call = recurrence_op._Call(first, decay, torch.ones(1, 1), torch.full((1, 1, 1), 1e8), None, False)
    growth = call._modes()[0].double()
    assert growth.item() == pytest.approx(-2e-8, rel=1e-6)
    assert (1 + growth).pow(length).item() == pytest.approx(0.96, rel=1e-3)


def test_second_derivatives_are_those_of_plain_torch():
    call, results = Recurrence(length=5, rows=1), []
    for backend in ("triton", "plain"):
        with kernel_backend(backend):
            leaves, y = call.run()
            (of_x,) = torch.autograd.grad(y.square().sum(), leaves[0], create_graph=True)
            results.append(torch.autograd.grad(of_x.square().sum(), leaves[:3]))
    close(*results, torch.float32)


def test_the_operation_serves_the_compiler():
    x, decay, gain = torch.randn(1, 5, 2), -torch.rand(2, 3), torch.randn(2, 3)
    leaves = [z.requires_grad_() for z in (x, decay, gain)]
    torch.library.opcheck(recurrence_op.fused_recurrence, (*leaves, None, 2, True))


def test_what_the_kernels_do_not_take():
    leaves, _ = Recurrence(rows=1, length=3).run()
    x, decay, gain = (z.double() for z in leaves[:3])
    with kernel_backend("triton"), pytest.raises(ValueError, match=r"in float32, not in torch\.float64"):
        convolve_modes(x, Modes(decay, gain), skip=torch.zeros(x.shape[2]))
    initial = torch.zeros(1, *gain.shape, requires_grad=True)
    with kernel_backend("triton"), pytest.raises(ValueError, match="no gradient of the initial state"):
        convolve_modes(leaves[0], Modes(*leaves[1:3]), skip=torch.zeros(x.shape[2]), initial=initial)
