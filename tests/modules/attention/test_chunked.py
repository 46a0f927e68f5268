import math

import pytest
import torch

from sma.modules.attention.chunked import ChunkAttention
from sma.modules.attention.positions import LearnedBias, Rotary, T5Bias

D_QK, D_V = 4, 6


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def position_of(name, bidirectional):
    return {
        "none": lambda: None,
        "learned": lambda: LearnedBias(7),
        "rotary": lambda: Rotary(D_QK),
        "t5": lambda: T5Bias(n_buckets=4, max_distance=3, bidirectional=bidirectional),
    }[name]()


def slow(attention, q, k, v):
    """One row without padding, by loops over queries and keys."""
    size = attention.chunk or len(q)
    y = torch.zeros(len(q), v.shape[1], dtype=v.dtype)
    bias = attention.position.bias()
    table = None if bias is None else bias.values
    for t in range(len(q)):
        keys = [s for s in range(len(q)) if s // size == t // size and (attention.bidirectional or s <= t)]
        at_t = attention.position.rotate(q[t : t + 1], torch.tensor([t]))[0]
        scores = []
        for s in keys:
            at_s = attention.position.rotate(k[s : s + 1], torch.tensor([s]))[0]
            tau = math.sqrt(D_QK) if attention.function.normalized else len(keys)
            score = (at_t * at_s).sum() / tau
            if table is not None:
                score = score + table[min(max(s - t - bias.first, 0), len(table) - 1)]
            scores.append(score)
        if attention.function.normalized:
            total = sum(score.exp() for score in scores)
            weights = [score.exp() / total for score in scores]
        else:
            weights = [attention.function.weights(score) for score in scores]
        y[t] = sum(weight * v[s] for weight, s in zip(weights, keys, strict=True))
    return y


def batch(lengths, length, side="right"):
    """q, k, v with NaN at padding, and the mask."""
    place = torch.arange(length)
    lengths = torch.tensor(lengths)[:, None]
    mask = place < lengths if side == "right" else place >= length - lengths
    q, k, v = (torch.randn(len(lengths), length, d, dtype=torch.float64) for d in (D_QK, D_QK, D_V))
    return *(z.masked_fill(~mask[..., None], math.nan) for z in (q, k, v)), mask


def every():
    for chunk in (None, 5):
        for bidirectional in (False, True):
            for function in ("softmax", "relu2", "laplace"):
                yield chunk, bidirectional, function, "learned"
            for position in ("none", "rotary", "t5"):
                yield chunk, bidirectional, "softmax", position


def build(chunk, bidirectional, function, position, **options):
    attention = ChunkAttention(
        D_QK,
        chunk=chunk,
        bidirectional=bidirectional,
        attention=function,
        position=position_of(position, bidirectional),
        **options,
    ).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    return attention


@pytest.mark.parametrize(("chunk", "bidirectional", "function", "position"), [*every()])
@pytest.mark.parametrize("side", ["right", "left"])
def test_equals_loops(chunk, bidirectional, function, position, side):
    attention = build(chunk, bidirectional, function, position)
    q, k, v, mask = batch((13, 6, 0, 1), 13, side)
    y = attention(q, k, v, mask)
    assert (y[~mask] == 0).all()
    for row in range(len(q)):
        real = mask[row]
        expected = slow(attention, q[row, real], k[row, real], v[row, real])
        torch.testing.assert_close(y[row, real], expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(y[:1], attention(q[:1], k[:1], v[:1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 1, 5, 50])
@pytest.mark.parametrize("function", ["softmax", "relu2"])
@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_steps_equal_forward(chunk, function, position):
    attention = build(chunk, False, function, position, max_positions=24)
    lengths = torch.tensor([24, 17, 3, 0])
    q, k, v = (torch.randn(4, 24, d, dtype=torch.float64) for d in (D_QK, D_QK, D_V))
    expected = attention(q, k, v)
    state = attention.init_state(4, D_V, dtype=torch.float64)
    for start, stop in ((0, 0), (0, 11), (11, 12), (12, 18), (18, 18), (18, 24)):
        rest = (lengths - start).clamp(0, stop - start)[:, None]
        width = stop - start + 1
        real = torch.arange(width) >= width - rest  # left padding, and one column too many
        piece = [torch.full((4, width, z.shape[2]), math.nan, dtype=torch.float64) for z in (q, k, v)]
        for part, whole in zip(piece, (q, k, v), strict=True):
            for row in range(4):
                part[row, real[row]] = whole[row, start : start + rest[row, 0]]
        y = attention.step(*piece, state, real)
        for row in range(4):
            torch.testing.assert_close(
                y[row, real[row]], expected[row, start : start + rest[row, 0]], rtol=0, atol=1e-12
            )
    assert state.count.tolist() == lengths.tolist()


def test_state_size_is_constant():
    attention = build(5, False, "softmax", "none")
    state = attention.init_state(2, D_V, dtype=torch.float64)
    shapes = [tensor.shape for _, tensor in state.tensors()]
    attention.step(*(torch.randn(2, 33, d, dtype=torch.float64) for d in (D_QK, D_QK, D_V)), state)
    assert [tensor.shape for _, tensor in state.tensors()] == shapes


def test_decoding_without_bound_is_refused():
    with pytest.raises(NotImplementedError, match="give chunk, or max_positions"):
        ChunkAttention(4).init_state(2, D_V)
    with pytest.raises(NotImplementedError, match="bidirectional=False"):
        ChunkAttention(4, chunk=4, bidirectional=True).init_state(2, D_V)


def test_decoding_beyond_the_bound_is_an_error():
    attention = ChunkAttention(D_QK, max_positions=4)
    state = attention.init_state(1, D_V)
    step = [torch.randn(1, 3, d) for d in (D_QK, D_QK, D_V)]
    attention.step(*step, state)
    with pytest.raises(ValueError, match="max_positions=4"):
        attention.step(*step, state)


@pytest.mark.parametrize("function", ["softmax", "relu2", "laplace"])
def test_gradients(function):
    attention = build(3, False, function, "learned")
    q, k, v, mask = batch((5, 2), 5)
    inputs = [torch.nan_to_num(z).requires_grad_() for z in (q, k, v)]
    torch.autograd.gradcheck(lambda *z: attention(*z, mask), inputs)
    q, k, v = (z.requires_grad_() for z in (q, k, v))
    attention(q, k, v, mask).sum().backward()
    for z in (q, k, v, attention.position.weight):
        assert torch.isfinite(z.grad).all()
        assert z is attention.position.weight or (z.grad[~mask] == 0).all()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
@pytest.mark.parametrize("chunk", [None, 2])
def test_nothing_to_do(shape, chunk):
    attention = build(chunk, True, "softmax", "learned")
    q, k, v = (torch.randn(*shape, d, dtype=torch.float64) for d in (D_QK, D_QK, D_V))
    y = attention(q, k, v, torch.ones(shape, dtype=torch.bool))
    assert y.shape == v.shape
    y.sum().backward()
    assert (attention.position.weight.grad == 0).all()
    assert attention(q, k, v).shape == v.shape


def test_dropout_drops_weights():
    attention = ChunkAttention(D_QK, attention="relu2", dropout=0.9)
    q = torch.ones(1, 300, D_QK)
    kept = attention(q, q, torch.ones(1, 300, 1)) > 0
    assert kept.float().mean() > 0.5  # each query keeps some of its 300 weights
    assert torch.equal(attention.eval()(q, q, torch.ones(1, 300, 1)), attention(q, q, torch.ones(1, 300, 1)))


@pytest.mark.parametrize("options", [{"chunk": 0}, {"max_positions": 0}, {"position": Rotary(6)}])
def test_errors(options):
    with pytest.raises(ValueError, match=r"must be an integer of at least 1|d_qk"):
        ChunkAttention(4, **options)
