import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sma import Elements
from sma.modules.attention import tiles as tiling
from sma.modules.attention.functions import attention_function
from sma.modules.attention.positions import LearnedBias, RankBias, T5Bias
from sma.modules.attention.windowed import windowed_attention

D_QK, D_V = 4, 3


def slots(counts, padding=0, seed=0, gaps=True):
    """A flat list: `counts[b]` elements of row b at random places or without gaps, then padding."""
    generator = torch.Generator().manual_seed(seed)
    rows, positions, ptr = [], [], [0]
    for b, count in enumerate(counts):
        places = torch.randperm(2 * count + 1, generator=generator)[:count].sort().values.tolist()
        places = places if gaps else range(b, b + count)
        rows += [b] * count + [-1] * padding
        positions += [*places, *[0] * padding]
        ptr.append(len(rows))
    row, position = (torch.tensor(values, dtype=torch.long) for values in (rows, positions))
    return Elements(torch.zeros(len(rows), 1), row, position, torch.zeros_like(row), torch.tensor(ptr))


def draws(elements, heads=(), dtype=torch.float64, seed=0):
    """Queries, keys and values, large enough to tell the activation functions apart."""
    generator = torch.Generator().manual_seed(seed)
    widths = (D_QK, D_QK, D_V)
    shapes = [(len(elements.row), *heads, width) for width in widths]
    return [
        (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()
        for shape in shapes
    ]


def oracle(q, k, v, elements, *, window, bidirectional=False, name="softmax", bias=None):
    """Row by row and query by query, on lists of keys."""
    results = [0 * v[t] for t in range(len(v))]
    for b in range(elements.n_rows):
        members = [t for t in range(len(v)) if elements.row[t] == b]
        for i, t in enumerate(members):
            reach = len(members) if window is None else window
            after = min(i + reach, len(members) - 1) if bidirectional else i
            keys = members[max(i - reach, 0) : after + 1]
            if name == "softmax":
                scale = D_QK**-0.5
            elif window is None:
                scale = 1 / (len(members) if bidirectional else i + 1)
            else:
                scale = 1 / (2 * window if bidirectional else window)
            scores = torch.stack([q[t] @ k[s] * scale for s in keys])
            if bias is not None:
                ranks = torch.tensor([members.index(s) - i for s in keys])
                scores = scores + bias(
                    ranks if bias.by_rank else elements.position[keys] - elements.position[t]
                )
            weights = {
                "softmax": lambda s: s.exp() / s.exp().sum(),
                "relu2": lambda s: s.clamp(min=0) ** 2,
                "laplace": lambda s: (1 + ((s - 0.707107) / (0.282095 * 2**0.5)).erf()) / 2,
            }[name](scores)
            results[t] = sum(w * v[s] for w, s in zip(weights, keys, strict=True))
    return torch.stack(results) if results else v.clone()


def biases(window, bidirectional):
    return [
        None,
        LearnedBias(9),
        RankBias(window or 6, bidirectional=bidirectional),
        T5Bias(n_buckets=8, max_distance=10, bidirectional=bidirectional),
    ]


@given(
    counts=st.lists(st.integers(0, 45), max_size=4),
    padding=st.integers(0, 3),
    window=st.sampled_from([None, 1, 2, 5, 16, 17, 40]),
    bidirectional=st.booleans(),
    name=st.sampled_from(["softmax", "relu2", "laplace"]),
    kind=st.integers(0, 3),
    small=st.booleans(),
    gaps=st.booleans(),
)
def test_equals_a_loop_over_queries(counts, padding, window, bidirectional, name, kind, small, gaps):
    elements = slots(counts, padding, gaps=gaps)
    position = biases(window, bidirectional)[kind]
    tables = [] if position is None else list(position.double().parameters())
    inputs = draws(elements)
    weight = torch.randn(len(elements.row), D_V, dtype=torch.float64) * elements.valid[:, None]

    def run(compute, **arguments):
        bias = None if position is None else position.bias()
        y = compute(*inputs, elements, window=window, bidirectional=bidirectional, bias=bias, **arguments)
        grads = torch.autograd.grad((y * weight).sum(), inputs + tables, allow_unused=True)
        return y, [
            torch.zeros_like(p) if g is None else g for p, g in zip(inputs + tables, grads, strict=True)
        ]

    with pytest.MonkeyPatch.context() as patch:
        if small:  # several groups of blocks, also for so few elements
            patch.setattr(tiling, "_WORKSPACE", {"cpu": 1})
            patch.setattr(tiling, "_BLOCK", 16)
        y, grads = run(windowed_attention, function=attention_function(name))
    expected, expected_grads = run(oracle, name=name)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y[elements.valid], expected[elements.valid])
    for got, want in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", ["softmax", "relu2", "laplace"])
@pytest.mark.parametrize("window", [3, None])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradcheck(name, window, dropout):
    elements = slots([7, 0, 20], padding=1)
    position = LearnedBias(6).double()

    def run(q, k, v, _):
        torch.manual_seed(3)
        arguments = {"window": window, "dropout": dropout, "function": attention_function(name)}
        return windowed_attention(q, k, v, elements, bias=position.bias(), **arguments)

    assert torch.autograd.gradcheck(run, (*draws(elements), position.weight), fast_mode=True)


@pytest.mark.parametrize("bias", [None, RankBias(5).double(), LearnedBias(4).double()])
@pytest.mark.parametrize("window", [5, None])
def test_heads_are_independent(window, bias):
    elements = slots([9, 0, 30], padding=2)
    table = None if bias is None else bias.bias()
    q, k, v = draws(elements, heads=(3,))
    arguments = {"window": window, "bias": table, "function": attention_function("relu2")}
    y = windowed_attention(q, k, v, elements, **arguments)
    each = [windowed_attention(q[:, h], k[:, h], v[:, h], elements, **arguments) for h in range(3)]
    torch.testing.assert_close(y[elements.valid], torch.stack(each, 1)[elements.valid])


@pytest.mark.parametrize("name", ["softmax", "relu2", "laplace"])
@pytest.mark.parametrize("window", [4, None])
def test_the_future_and_padding_slots_change_nothing(name, window):
    elements = slots([40, 25], padding=3)
    q, k, v = draws(elements)
    later = ~elements.valid | (elements.position > 20)
    other = [torch.where(later[:, None], -5 * z.flip(0), z).detach() for z in (q, k, v)]
    before, after = (
        windowed_attention(*inputs, elements, window=window, function=attention_function(name))
        for inputs in ((q, k, v), other)
    )
    assert torch.equal(before[~later], after[~later])


def test_rows_do_not_depend_on_batch_mates():
    elements, lone = slots([40, 25, 3], seed=1), slots([40], seed=1)
    q, k, v = draws(elements)
    y = windowed_attention(q, k, v, elements, window=6, bidirectional=True)
    alone = windowed_attention(q[:40], k[:40], v[:40], lone, window=6, bidirectional=True)
    torch.testing.assert_close(y[:40], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "relu2", "laplace"])
@pytest.mark.parametrize("window", [8, None])
def test_nothing_active_gives_zero_gradients(name, window):
    for elements, heads in ((slots([0, 0]), ()), (slots([]), ()), (slots([0]), (2,))):
        inputs = draws(elements, heads)
        position = LearnedBias(5)
        y = windowed_attention(
            *inputs, elements, window=window, function=attention_function(name), bias=position.bias()
        )
        y.sum().backward()
        assert y.shape == (0, *heads, D_V)
        assert (position.weight.grad == 0).all()


def test_only_padding_slots_stay_finite():
    elements = slots([0, 0], padding=5)
    inputs = draws(elements)
    y = windowed_attention(*inputs, elements, window=2)
    y.sum().backward()
    assert all(torch.isfinite(z).all() for z in (y, *(z.grad for z in inputs)))


@pytest.mark.parametrize("window", [8, None])
@pytest.mark.parametrize("bias", [None, RankBias(8)])
def test_bfloat16(window, bias):
    elements = slots([50, 20])
    exact = draws(elements)
    rounded = [z.detach().to(torch.bfloat16).requires_grad_() for z in exact]
    position = None if bias is None else bias.to(torch.bfloat16).bias()
    y = windowed_attention(*rounded, elements, window=window, bias=position)
    y.sum().backward()
    double = [z.detach().double() for z in rounded]
    reference = windowed_attention(*double, elements, window=window, bias=position)
    assert y.dtype == torch.bfloat16
    assert all(z.grad.dtype == torch.bfloat16 for z in rounded)
    torch.testing.assert_close(y.double(), reference, rtol=0.02, atol=0.02)


def test_autocast_changes_nothing_in_float32():
    elements = slots([50, 20])
    inputs = draws(elements, dtype=torch.float32)

    def run():
        y = windowed_attention(*inputs, elements, window=8, bias=LearnedBias(20).bias())
        return torch.autograd.grad(y.sum(), inputs)

    torch.manual_seed(0)
    plain = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(0)
        mixed = run()
    for got, want in zip(mixed, plain, strict=True):
        assert torch.equal(got, want)


def test_dropout_drops_weights_and_keeps_the_mean():
    elements = slots([300])
    q, k, _ = draws(elements)
    v = torch.ones(300, 1, dtype=torch.float64)
    torch.manual_seed(0)
    y = windowed_attention(q, k, v, elements, window=64, dropout=0.25)
    torch.manual_seed(0)
    again = windowed_attention(q, k, v, elements, window=64, dropout=0.25)
    other = windowed_attention(q, k, v, elements, window=64, dropout=0.25)
    assert torch.equal(y, again)
    assert not torch.equal(y, other)
    assert (y - 1).abs().mean() > 0.01
    assert abs(y.mean() - 1) < 0.05


class Largest(TorchDispatchMode):
    """Watch every tensor that any operation makes."""

    def __init__(self, n):
        super().__init__()
        self.n, self.numel, self.square = n, 0, False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and 0 not in tensor.stride():
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // tensor.element_size())
                self.square |= sum(size >= self.n for size in tensor.shape) > 1
        return result


@pytest.mark.parametrize("bias", [None, RankBias(16, bidirectional=True), LearnedBias(5000)])
def test_memory_is_linear(bias, monkeypatch):
    monkeypatch.setattr(tiling, "_WORKSPACE", {"cpu": 2**14})
    window, n = 16, 4000
    elements = slots([n // 2, n // 2])
    inputs = draws(elements, dtype=torch.float32)
    with Largest(n // 2) as largest:
        table = None if bias is None else bias.bias()
        windowed_attention(*inputs, elements, window=window, bidirectional=True, bias=table).sum().backward()
    assert not largest.square
    assert largest.numel < n * window


def test_time_is_spent_on_neighbours_only():
    elements = slots([700, 900])
    tiles = tiling.window_tiles(elements.row, 32, bidirectional=True)
    scores = sum(tile.n_blocks * tile.block * tile.n_keys for tile in tiles)
    assert scores < 1.1 * len(elements.row) * 3 * 32
    assert all(a.start + a.n_blocks * a.block == b.start for a, b in pairwise(tiles))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_beyond_what_float32_counts_exactly_do_not_see_each_other(dtype):
    counts, first = [2, 3, 1, 40], 2**24
    elements = slots(counts)
    far = replace(elements, row=elements.row + first)  # `ptr` is not read with a window
    inputs = draws(elements, dtype=dtype)
    y = windowed_attention(*inputs, far, window=5, bidirectional=True)
    torch.testing.assert_close(y, windowed_attention(*inputs, elements, window=5, bidirectional=True))
    for z, row in zip(y.split(counts), range(len(counts)), strict=True):
        part = [x.split(counts)[row] for x in inputs]
        alone = windowed_attention(*part, slots(counts[row : row + 1]), window=5, bidirectional=True)
        torch.testing.assert_close(z, alone)


def test_masked_scores_have_no_weight_where_zero_has():
    elements = slots([1, 1])
    zero, v = torch.zeros(2, 1, dtype=torch.float64), torch.tensor([[1.0], [10.0]], dtype=torch.float64)
    y = windowed_attention(zero, zero, v, elements, window=3, function=attention_function("laplace"))
    at_zero = 0.5 * (1 + math.erf(-0.707107 / (0.282095 * 2**0.5)))
    torch.testing.assert_close(y, v * at_zero)


@pytest.mark.parametrize("name", ["softmax", "relu2", "laplace"])
def test_gradient_formulas(name):
    function = attention_function(name)
    scores = torch.linspace(-2, 3, 24, dtype=torch.float64).view(4, 6)
    weights, grad = function.weights(scores), torch.linspace(3, -1, 24, dtype=torch.float64).view(4, 6)
    expected = replace(function, gradient=None).backward(scores, weights, grad)
    torch.testing.assert_close(function.backward(scores, weights, grad), expected)


def test_unknown_function():
    with pytest.raises(ValueError, match="unknown attention 'cosine'; known: laplace, relu2, softmax"):
        attention_function("cosine")
