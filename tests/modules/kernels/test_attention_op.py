"""The attention kernels in Triton's interpreter against plain torch, itself tested in test_windowed.py."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_parity import Attention, close, flat_list
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sma.modules import attention_function, kernel_backend, windowed_attention
from sma.modules.kernels.attention_op import FUNCTIONS, fused_attention


@st.composite
def calls(draw):
    function = draw(st.sampled_from(sorted(FUNCTIONS)))
    windows = st.integers(1, 40) if function != "softmax" else st.none() | st.integers(1, 40)
    return Attention(
        counts=tuple(draw(st.lists(st.integers(0, 25), max_size=3))),
        padding=draw(st.integers(0, 3)),
        window=draw(windows),
        bidirectional=draw(st.booleans()),
        function=function,
        bias=draw(st.sampled_from([None, "rank", "position"])),
        heads=draw(st.none() | st.integers(1, 2)),
        d_qk=draw(st.sampled_from([1, 8, 33])),
        d_v=draw(st.sampled_from([1, 12, 40])),
        dtype=draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16])),
        seed=draw(st.integers(0, 3)),
    )


@settings(max_examples=8)
@given(calls())
def test_equals_plain_torch(call):
    call.compare()


@pytest.mark.parametrize(
    "function", ["softmax", *(pytest.param(name, marks=pytest.mark.slow) for name in ("laplace", "relu2"))]
)
def test_blocks_of_a_list_longer_than_two(function):
    """Float32 blocks are 32 slots: rows begin inside of them, and windows reach across three."""
    Attention(counts=(50, 7, 40), window=40, bias="position", function=function, bidirectional=True).compare()


def test_several_columns_of_features():
    Attention(counts=(20,), d_qk=70, d_v=65).compare()


def test_nothing_active():
    Attention(counts=(0, 0), padding=0, bias="rank").compare()
    Attention(counts=(), padding=0, heads=2).compare()


def test_heads_that_lie_apart_in_memory():
    elements, leaves = Attention(heads=2).inputs()
    q, k, v = (x.detach().transpose(0, 1).contiguous().transpose(0, 1) for x in leaves[:3])
    results = []
    for backend in ("triton", "plain"):
        with kernel_backend(backend):
            results.append(windowed_attention(q, k, v.mT.contiguous().mT, elements, window=4))
    close(*([x] for x in results), torch.float32)


@pytest.mark.parametrize("function", ["softmax", pytest.param("laplace", marks=pytest.mark.slow)])
def test_dropout(function):
    """Values that are the identity show which weights are kept, with the factor of those that are."""
    elements = flat_list((16, 14), 0)
    n_slots = len(elements.row)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(n_slots, 2, 8, generator=generator).requires_grad_() for _ in range(2))
    v = torch.eye(n_slots).unsqueeze(1).repeat(1, 2, 1).requires_grad_()
    grad = torch.randn(v.shape, generator=generator)

    def attend(dropout):
        torch.manual_seed(5)
        settings = {"window": 30, "function": attention_function(function), "dropout": dropout}
        with kernel_backend("triton"):
            y = windowed_attention(q, k, v, elements, **settings)
        return y, torch.autograd.grad((y * grad).sum(), (q, k, v))

    (whole, _), (y, grads), (again, _) = attend(0.0), attend(0.3), attend(0.3)
    assert torch.equal(y, again)
    factor = torch.where(whole != 0, y / whole, 0)
    kept = factor.detach() > 0
    torch.testing.assert_close(factor[kept], torch.full_like(factor[kept], 1 / 0.7))
    assert 0.6 < kept.sum() / (whole != 0).sum() < 0.8
    assert not torch.equal(kept[:, 0], kept[:, 1])
    with kernel_backend("plain"):
        settings = {"window": 30, "function": attention_function(function)}
        weights = windowed_attention(q, k, v.detach(), elements, **settings) * kept / 0.7
    expected = torch.autograd.grad((weights * grad).sum(), (q, k), retain_graph=True)
    of_values = torch.einsum("qhs,qhe->she", weights, grad)
    close(grads, [*expected, of_values], torch.float32)


class Largest(TorchDispatchMode):
    """The most elements that a tensor made inside has."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(results) if isinstance(x, torch.Tensor)]
        self.size = max([self.size, *sizes])
        return results


def test_memory_is_linear_in_the_list_whatever_the_window():
    call = Attention(counts=(96,), window=90, d_qk=4, d_v=4, padding=0, bias="rank")
    with Largest() as largest:
        call.results("triton")
    assert 0 < largest.size < 96 * 8
    with Largest() as largest:
        call.results("plain")
    assert largest.size > 96 * 60


def test_second_derivatives_are_those_of_plain_torch():
    elements, leaves = Attention(bias="position", counts=(7,)).inputs()
    results = []
    for backend in ("triton", "plain"):
        with kernel_backend(backend):
            y = windowed_attention(*leaves[:3], elements, window=3)
            (of_q,) = torch.autograd.grad(y.square().sum(), leaves[0], create_graph=True)
            results.append(torch.autograd.grad(of_q.square().sum(), leaves[:3]))
    close(*results, torch.float32)
    with kernel_backend("triton"):
        y = windowed_attention(*leaves[:3], elements, window=3, dropout=0.5)
    with pytest.raises(ValueError, match=r'with dropout=0\.5 would draw another.*kernel_backend\("plain"\)'):
        torch.autograd.grad(y.sum(), leaves[0], create_graph=True)


def test_the_operation_serves_the_compiler():
    call = Attention(bias="rank", heads=1, counts=(4, 2))
    elements, (q, k, v, table) = call.inputs()
    fields = (elements.row, elements.position, elements.ptr, table, None, -4, 3, False, "softmax", 0.3, 0.0)
    torch.library.opcheck(fused_attention, (q, k, v, *fields))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_compiled_as_one_graph(dropout):
    torch._dynamo.reset()
    elements, leaves = Attention(heads=2, counts=(9, 4)).inputs()

    def attend(q, k, v):
        with kernel_backend("triton"):
            return windowed_attention(q, k, v, elements, window=3, dropout=dropout)

    results = []
    for function in (attend, torch.compile(attend, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(3)
        y = function(*leaves[:3])
        results.append([y, *torch.autograd.grad(y.square().sum(), leaves[:3])])
    close(*results, torch.float32)


@pytest.mark.parametrize(
    ("call", "arguments", "reason"),
    [
        (Attention(dtype=torch.float64), {}, r"float16, not in torch\.float64"),
        (Attention(function="relu2", window=None), {}, "without a window relu2 scales every query"),
        (Attention(), {"function": replace(attention_function("softmax"), name=None)}, "the functions softm"),
    ],
)
def test_what_the_kernels_do_not_take(call, arguments, reason):
    elements, (q, k, v, _) = call.inputs()
    settings = {"window": call.window, "function": attention_function(call.function), **arguments}
    with kernel_backend("triton"), pytest.raises(ValueError, match=f"for this attention: .*{reason}"):
        windowed_attention(q, k, v, elements, **settings)
