import math

import pytest
import torch

from sma.modules.attention.chunked import ChunkAttention
from sma.modules.attention.mega import MegaAttention, RotaryBias
from sma.modules.attention.positions import LearnedBias, NoPosition, Rotary
from sma.modules.norms import LayerNorm, NoNorm, ScaleNorm
from sma.modules.ssm.ema import MultiHeadEMA
from sma.testing import SequenceModuleContract

D, D_QK, D_HIDDEN, D_STATE = 6, 4, 10, 3


def build(
    chunk=None,
    bidirectional=False,
    function="softmax",
    position="simple",
    pre_norm=True,
    norm=LayerNorm,
    **options,
):
    positions = {"simple": LearnedBias, "rotary_bias": lambda n: RotaryBias(D_QK, max_positions=n)}
    layer = MegaAttention(
        D,
        mixer=MultiHeadEMA(D, d_state=D_STATE, bidirectional=bidirectional),
        attention=ChunkAttention(
            D_QK,
            chunk=chunk,
            max_positions=30,
            bidirectional=bidirectional,
            attention=function,
            position=positions.get(position, lambda n: Rotary(D_QK))(chunk or 30),
        ),
        norm=norm(D),
        pre_norm=pre_norm,
        d_hidden=D_HIDDEN,
        **options,
    ).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(d_model, chunk, bidirectional, function, position, **options):
    attention = ChunkAttention(
        D_QK,
        chunk=chunk,
        max_positions=40,
        bidirectional=bidirectional,
        attention=function,
        position=position,
    )
    mixer = MultiHeadEMA(d_model, d_state=D_STATE, bidirectional=bidirectional)
    return MegaAttention(d_model, mixer=mixer, attention=attention, norm=LayerNorm(d_model), **options)


class TestChunks(SequenceModuleContract):
    def make(self):
        return make(self.d_model, 4, False, "softmax", LearnedBias(4))


class TestWholeRows(SequenceModuleContract):
    def make(self):
        return make(self.d_model, None, False, "laplace", RotaryBias(D_QK, max_positions=9), pre_norm=False)


class TestBidirectionalChunks(SequenceModuleContract):
    def make(self):
        return make(self.d_model, 4, True, "relu2", Rotary(D_QK))


def silu(x):
    return x / (1 + (-x).exp())


def sigmoid(x):
    return 1 / (1 + (-x).exp())


def normalise(norm, x):
    if isinstance(norm, ScaleNorm):
        return norm.weight * x / ((x**2).mean() + norm.eps) ** 0.5
    return (x - x.mean()) / (((x - x.mean()) ** 2).mean() + norm.eps) ** 0.5 * norm.weight + norm.bias


def moving_average(ema, x):
    """Loops over time, channels and states."""
    y = ema.omega * x
    for direction in range(len(ema.delta)):
        times = range(len(x)) if direction == 0 else reversed(range(len(x)))
        p = sigmoid(ema.delta[direction])
        q = 1 - p * sigmoid(ema.alpha[direction])
        state = torch.zeros_like(p)
        for t in times:
            state = q * state + p * ema.beta[direction] * x[t][:, None]
            y[t] = y[t] + (state * ema.gamma[direction]).sum(1) / math.sqrt(p.shape[1])
    return y


def score(layer, q, k, t, s, n_keys):
    """The score of one query and one key of a chunk."""
    position = layer.attention.position
    if isinstance(position, Rotary):
        q = position.rotate(q[None], torch.tensor([t]))[0]
        k = position.rotate(k[None], torch.tensor([s]))[0]
    value = (q * k).sum() / (math.sqrt(len(q)) if layer.attention.function.normalized else n_keys)
    if isinstance(position, LearnedBias):
        value = value + position.weight[s - t + position.max_positions - 1]
    if isinstance(position, RotaryBias):
        value = value + (turned(position.alpha, t) * turned(position.beta, s)).sum()
    return value


def turned(z, position):
    """Halves turned against each other."""
    half = len(z) // 2
    angle = torch.tensor([position * 10000.0 ** (-i / half) for i in range(half)], dtype=z.dtype)
    a, b = z[:half], z[half:]
    return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()))


def slow(layer, x):
    """Equations 8 to 17 for one row without padding, element by element."""
    if len(x) == 0:
        return x
    pre = isinstance(layer.post_norm, NoNorm)
    h = torch.stack([normalise(layer.pre_norm, e) for e in x]) if pre else x
    average = silu(moving_average(layer.mixer, h))
    w, b = layer.gates.weight, layer.gates.bias
    rows = {"update": D, "z": D_QK, "reset": D_HIDDEN, "direct": D}
    first, parts = 0, {}
    for name, n in rows.items():
        parts[name] = average @ w[first : first + n].T + b[first : first + n]
        first += n
    update, z, reset = sigmoid(parts["update"]), silu(parts["z"]), silu(parts["reset"])
    q, k = (z * layer.scale[i] + layer.shift[i] for i in range(2))
    v = silu(h @ layer.value.weight.T + layer.value.bias)
    size = layer.attention.chunk or len(x)
    y = []
    for t in range(len(x)):
        chunk = range(t // size * size, min((t // size + 1) * size, len(x)))
        keys = [s for s in chunk if not layer.causal or s <= t]
        scores = torch.stack([score(layer, q[t], k[s], t % size, s % size, len(keys)) for s in keys])
        weights = layer.attention.function.weights(scores)
        o = sum(weight * v[s] for weight, s in zip(weights, keys, strict=True))
        candidate = silu(parts["direct"][t] + layer.output.weight @ (reset[t] * o) + layer.output.bias)
        y.append(update[t] * candidate + (1 - update[t]) * x[t])
        if not pre:
            y[-1] = normalise(layer.post_norm, y[-1])
    return torch.stack(y)


def batch(lengths, length, side="right"):
    place = torch.arange(length)
    lengths = torch.tensor(lengths)[:, None]
    mask = place < lengths if side == "right" else place >= length - lengths
    x = torch.randn(len(lengths), length, D, dtype=torch.float64)
    return x.masked_fill(~mask[..., None], math.nan), mask


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"function": "softmax", "position": "simple"},
        {"function": "relu2", "position": "rotary_bias"},
        {"function": "laplace", "position": "simple", "pre_norm": False},
        {"function": "softmax", "position": "rotary_bias", "norm": ScaleNorm},
        {"function": "softmax", "position": "rotary", "norm": ScaleNorm, "pre_norm": False},
    ],
)
def test_equals_the_published_equations(chunk, bidirectional, options):
    layer = build(chunk, bidirectional, **options)
    for side in ("right", "left"):
        x, mask = batch((11, 6, 1, 0), 11, side)
        y = layer(x, mask)
        assert (y[~mask] == 0).all()
        for row in range(len(x)):
            expected = slow(layer, x[row, mask[row]])
            torch.testing.assert_close(y[row, mask[row]], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("position", ["simple", "rotary_bias"])
def test_steps_equal_forward(chunk, position):
    layer = build(chunk, function="laplace", position=position)
    x, _ = batch((21, 21, 21), 21)
    expected = layer(x)
    state = layer.init_state(3, dtype=torch.float64)
    prompts = torch.tensor([9, 0, 5])
    prompt = torch.full((3, 9, D), math.nan, dtype=torch.float64)
    real = torch.arange(9) >= 9 - prompts[:, None]
    for row, n in enumerate(prompts):
        prompt[row, real[row]] = x[row, :n]
    y = layer.step(prompt, state, real)
    assert (y[~real] == 0).all()
    for row, n in enumerate(prompts):
        torch.testing.assert_close(y[row, real[row]], expected[row, :n], rtol=0, atol=1e-10)
    for i in range(12):
        at = prompts + i
        y = layer.step(x[torch.arange(3), at][:, None], state)
        torch.testing.assert_close(y[:, 0], expected[torch.arange(3), at], rtol=0, atol=1e-10)


def test_the_future_changes_nothing():
    for chunk in (None, 4):
        layer = build(chunk)
        x, _ = batch((12,), 12)
        changed = x.clone()
        changed[:, 7:] = 100
        assert torch.equal(layer(x)[:, :7], layer(changed)[:, :7])
        assert layer.causal


def test_chunks_hide_other_chunks_from_attention():
    layer = build(4, bidirectional=True)
    assert not layer.causal
    with torch.no_grad():
        layer.mixer.gamma.zero_()  # no moving average: attention is the only way from element to element
    x, _ = batch((12,), 12)
    changed = x.clone()
    changed[:, 4:8] += 1
    same = (layer(x) == layer(changed)).all(-1)[0]
    assert same.tolist() == [True] * 4 + [False] * 4 + [True] * 4


def test_gradients():
    layer = build(3, bidirectional=True, position="rotary_bias")
    x, mask = batch((5, 2, 0), 5)
    filled = torch.nan_to_num(x).requires_grad_()
    torch.autograd.gradcheck(lambda x: layer(x, mask), filled)
    x.requires_grad_()
    layer(x, mask).sum().backward()
    assert (x.grad[~mask] == 0).all()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_to_do(shape):
    layer = build(4)
    x = torch.randn(*shape, D, dtype=torch.float64)
    y = layer(x, torch.ones(shape, dtype=torch.bool))
    assert y.shape == x.shape
    y.sum().backward()
    assert all((p.grad == 0).all() for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    attention = ChunkAttention(8, chunk=16, position=LearnedBias(16))
    layer = MegaAttention(16, mixer=MultiHeadEMA(16), attention=attention, norm=LayerNorm(16))
    x = torch.randn(2, 40, 16)
    expected = layer(x)
    with torch.autocast("cpu", dtype=dtype):
        mixed = layer(x)
    low = layer.to(dtype)(x.to(dtype))
    assert low.dtype == dtype
    for y in (mixed, low):
        assert (y.float() - expected).abs().max() < 0.05
    state = layer.init_state(2, dtype=dtype)
    steps = torch.cat([layer.step(x[:, :25].to(dtype), state), layer.step(x[:, 25:].to(dtype), state)], 1)
    assert (steps.float() - expected).abs().max() < 0.05


def test_rotary_bias_depends_on_the_offset_alone():
    position = RotaryBias(D_QK, max_positions=9).double()
    torch.nn.init.normal_(position.alpha)
    torch.nn.init.normal_(position.beta)
    bias = position.bias()
    for t in range(9):
        for s in range(9):
            expected = (turned(position.alpha, t) * turned(position.beta, s)).sum()
            assert abs(bias(torch.tensor(s - t)) - expected) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotary_bias_is_right_far_away(dtype):
    position = RotaryBias(D_QK, max_positions=10**6).to(dtype)
    torch.nn.init.normal_(position.alpha)
    torch.nn.init.normal_(position.beta)
    alpha, beta = position.alpha.double(), position.beta.double()
    bias = position.bias()
    for offset in (0, 7, -99_999, 123_456, -999_999):
        expected = (turned(alpha, 0) * turned(beta, offset)).sum()
        assert abs(bias(torch.tensor(offset)) - expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("function", ["relu2", "laplace"])
def test_weights_of_many_keys_survive_half_precision(dtype, function):
    """Each of 2,000 keys gets a weight below the smallest number of float16."""
    torch.manual_seed(0)
    attention = ChunkAttention(4, bidirectional=True, attention=function, position=NoPosition())
    q, k, v = torch.randn(3, 1, 2000, 4).to(dtype)
    v = v.abs() + 1
    want = ChunkAttention(4, bidirectional=True, attention=function, position=NoPosition())(
        q.double(), k.double(), v.double()
    )
    for got in (attention(q, k, v), attention(q.float(), k.float(), v.float())):
        assert want.abs().min() > 0
        assert ((got.double() - want).abs() <= torch.finfo(dtype).eps * want.abs() + 1e-7).all()


def test_initialisation():
    attention = ChunkAttention(64, position=RotaryBias(64, max_positions=10))
    layer = MegaAttention(128, mixer=MultiHeadEMA(128), attention=attention, norm=LayerNorm(128))
    for linear in (layer.value, layer.gates, layer.output):
        assert abs(linear.weight.std() / 0.02 - 1) < 0.02
        assert linear.weight.abs().max() > 0.06  # not cut
        assert (linear.bias == 0).all()
    assert layer.value.out_features == 256
    assert abs(layer.scale.std() / 0.02 - 1) < 0.3
    assert (layer.shift == 0).all()


def test_operations_are_counted():
    whole, chunks = (build(chunk, position="rotary") for chunk in (None, 4))
    matrices = 20 * (D * D_HIDDEN + D * (2 * D + D_QK + D_HIDDEN) + D_HIDDEN * D)
    for layer, pairs in ((whole, 20 * 21 // 2), (chunks, 5 * 4 * 5 // 2)):
        attention = pairs * (D_QK + D_HIDDEN)
        assert layer.flops(20) == layer.mixer.flops(20) + 2 * (matrices + attention)


def test_dropout_stands_on_average_values_and_result():
    def ones(dropout=0.0, hidden_dropout=0.0):
        layer = build(chunk=4, dropout=dropout, hidden_dropout=hidden_dropout).train()
        x, _ = batch((40,), 40)
        torch.manual_seed(0)
        return layer, x

    layer, x = ones(dropout=1 - 1e-9)  # nothing of X' arrives, nothing of H: gates are those of the biases
    update = sigmoid(layer.gates.bias[:D])
    torch.testing.assert_close(layer(x), (1 - update) * x)
    layer, x = ones(hidden_dropout=1 - 1e-9)
    with torch.no_grad():
        layer.value.weight.mul_(7)  # of no consequence
    y = layer(x)
    with torch.no_grad():
        layer.value.weight.mul_(3)
    torch.testing.assert_close(layer(x), y)


@pytest.mark.parametrize("options", [{"d_qk": 3, "max_positions": 4}, {"d_qk": 4, "max_positions": 0}])
def test_errors(options):
    with pytest.raises(ValueError, match="must be"):
        RotaryBias(options.pop("d_qk"), **options)
