"""flex_attention against the tiles, which test_attention.py compares with a loop over queries."""

from itertools import chain

import pytest
import torch
from torch.nn.attention import flex_attention as torch_flex

from sma import Elements
from sma.modules import GAU, attention_backend, windowed_attention
from sma.modules.attention import flex
from sma.modules.attention.functions import attention_function
from sma.modules.attention.positions import LearnedBias, RankBias, T5Bias

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
CASES = pytest.mark.parametrize(
    "case",  # elements per row, padding per row, window, bidirectional, bias, heads
    [
        ([7, 0, 20], 2, 5, False, None, ()),
        ([7, 0, 20], 0, None, True, LearnedBias(9), (2,)),
        ([3, 150, 140], 1, 40, False, RankBias(40), (2,)),
        ([260], 0, 130, True, T5Bias(n_buckets=8, max_distance=10, bidirectional=True), ()),
        ([0, 0], 3, 1, False, None, ()),
    ],
)


def slots(counts, padding, device="cpu"):
    """A flat list: `counts[b]` elements of row b, two places apart, then padding."""
    row = [[b] * count + [-1] * padding for b, count in enumerate(counts)]
    position = [[*range(b, b + 2 * count, 2), *[0] * padding] for b, count in enumerate(counts)]
    ptr = torch.tensor([0, *(len(r) for r in row)], device=device).cumsum(0)
    row, position = (torch.tensor([*chain(*lists)], device=device) for lists in (row, position))
    return Elements(torch.zeros(len(row), 1, device=device), row, position, torch.zeros_like(row), ptr)


def compare(case, *, d_qk=4, d_v=3, device="cpu", dtype=torch.float64, gradients=True, **tolerance):
    """Results, and gradients, by tiles and by flex."""
    counts, padding, window, bidirectional, bias, heads = case
    torch.manual_seed(0)
    elements = slots(counts, padding, device)
    shapes = [(len(elements.row), *heads, width) for width in (d_qk, d_qk, d_v)]
    inputs = [torch.randn(shape, device=device, dtype=dtype, requires_grad=gradients) for shape in shapes]
    bias = None if bias is None else bias.to(device, dtype)
    leaves = inputs + ([] if bias is None else [bias.weight])
    weight = torch.randn_like(inputs[2]) * elements.valid.view(-1, *[1] * (inputs[2].dim() - 1))
    results = []
    for backend in ("tiles", "flex"):
        with attention_backend(backend), torch.set_grad_enabled(gradients):
            table = None if bias is None else bias.bias()
            y = windowed_attention(*inputs, elements, window=window, bidirectional=bidirectional, bias=table)
        assert torch.isfinite(y).all()
        assert y.dtype == dtype
        grads = torch.autograd.grad((y * weight).sum(), leaves) if gradients else ()
        results.append([y[elements.valid], *grads])
    torch.testing.assert_close(*results[::-1], **tolerance)


@CASES
def test_equals_the_tiles(case):
    compare(case, gradients=False)


@pytest.mark.skipif(not hasattr(torch_flex, "_validate_device"), reason="torch has no check to circumvent")
@CASES
def test_gradients_equal_those_of_the_tiles(case, monkeypatch):
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *_: None)  # it refuses gradients on CPU
    compare(case)


@pytest.mark.slow
@CASES
def test_compiled_for_the_cpu(case, monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(flex, "flex_attention", torch.compile(torch_flex.flex_attention))
    compare(case, d_qk=16, d_v=32, dtype=torch.float32, gradients=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.05)])
@CASES
def test_gradients_on_a_gpu(case, dtype, tolerance):
    compare(case, d_qk=16, d_v=32, device="cuda", dtype=dtype, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("back", "ahead"), [(5, 0), (5, 5), (130, 0), (1000, 0), (1000, 1000)])
@pytest.mark.parametrize("padding", [0, 30])
def test_blocks_hold_all_pairs_and_few_others(back, ahead, padding):
    elements = slots([3, 300, 0, 100, 260], padding)
    row, slot = elements.row, torch.arange(len(elements.row))
    distance = slot - slot[:, None]
    pair = (row == row[:, None]) & (row >= 0) & (distance >= -back) & (distance <= ahead)
    visible = flex.visible_blocks(elements, back, ahead)
    spread = visible.repeat_interleave(128, 0).repeat_interleave(128, 1)[: len(row), : len(row)]
    assert spread[pair].all()
    assert spread.diagonal().all()
    holds = [[bool(pair[i : i + 128, j : j + 128].any()) for j in slot[::128]] for i in slot[::128]]
    assert visible.sum() <= torch.tensor(holds).sum() + (2 * len(visible) if padding else 0)


def test_what_does_not_apply_is_refused():
    elements, q = slots([5], 0), torch.randn(5, 4)
    with attention_backend("flex"):
        for arguments in ({"dropout": 0.5}, {"function": attention_function("relu2")}):
            with pytest.raises(
                ValueError, match=r'softmax without dropout only; use attention_backend\("tiles"'
            ):
                windowed_attention(q, q, q, elements, window=2, **arguments)
        q = q.double().to("meta")
        with pytest.raises(ValueError, match=r"does not compute in float64 on meta; use float32"):
            windowed_attention(q, q, q, elements, window=2)
    with pytest.raises(ValueError, match=r"unknown attention backend 'fast'; known: tiles, flex"):
        attention_backend("fast").__enter__()


def test_the_choice_ends_with_the_block():
    elements, q = slots([5], 0), torch.randn(5, 4, requires_grad=True)
    with pytest.raises(NotImplementedError, match="backward on CPU"), attention_backend("flex"):
        windowed_attention(q, q, q, elements, window=2)
    windowed_attention(q, q, q, elements, window=2).sum().backward()


def test_nothing_active():
    layer = GAU(8, window=4)
    with attention_backend("flex"):
        layer(slots([0, 0], 0).with_x(torch.zeros(0, 8))).sum().backward()
    assert all((p.grad == 0).all() for p in layer.parameters())
