from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from sma import CapacityCompaction, PackedCompaction, PaddedCompaction
from sma.modules import GAU
from sma.modules.attention.positions import LearnedBias, NoPosition, RankBias, Rotary, T5Bias
from sma.testing import SubModuleContract

D, D_QK, D_HIDDEN = 6, 4, 7


class TestCausal(SubModuleContract):
    def make(self):
        rates = {"dropout": 0.2, "hidden_dropout": 0.1, "output_dropout": 0.3}
        return GAU(self.d_model, d_qk=4, window=3, position=Rotary(4), **rates)


class TestBidirectional(SubModuleContract):
    def make(self):
        position = LearnedBias(6)
        return GAU(self.d_model, d_qk=3, window=2, bidirectional=True, attention="laplace", position=position)


class TestWholeRows(SubModuleContract):
    supports_decoding = False

    def make(self):
        position = T5Bias(n_buckets=4, max_distance=6)
        return GAU(self.d_model, d_qk=4, window=None, attention="relu2", position=position)


def oracle(gau, x, positions):
    """One row of active elements, `x (N, D)`, with an N x N matrix of scores."""
    z, gate, v = F.silu(gau.input(x)).split([D_QK, D_HIDDEN, D_HIDDEN], 1)
    q, k = (gau.position.rotate(z * gau.gamma[i] + gau.beta[i], positions) for i in range(2))
    n = torch.arange(len(x))
    offset = n - n[:, None]
    if gau.attention.normalized:
        scale = D_QK**-0.5
    elif gau.window is not None:
        scale = 1 / (gau.window * (2 if gau.bidirectional else 1))
    else:
        scale = 1 / (torch.full_like(n, len(x)) if gau.bidirectional else n + 1)[:, None].double()
    scores = q @ k.T * scale
    if (bias := gau.position.bias()) is not None:
        scores = scores + bias(offset if bias.by_rank else positions - positions[:, None])
    seen = offset.abs() <= (len(x) if gau.window is None else gau.window)
    if not gau.bidirectional:
        seen &= offset <= 0
    weights = gau.attention.weights(scores.masked_fill(~seen, -torch.inf))
    return gau.output(weights @ v * gate)


def make(kind, **options):
    """A GAU in float64 with parameters large enough to matter."""
    window, bidirectional = options.get("window", 8), options.get("bidirectional", False)
    position = {
        "none": NoPosition,
        "rotary": lambda: Rotary(D_QK),
        "learned": lambda: LearnedBias(20),
        "rank": lambda: RankBias(window or 9, bidirectional=bidirectional),
        "t5": lambda: T5Bias(n_buckets=8, max_distance=12, bidirectional=bidirectional),
    }[kind]()
    gau = GAU(D, d_qk=D_QK, d_hidden=D_HIDDEN, position=position, **{"window": 8, **options}).double()
    with torch.no_grad():
        for parameter in gau.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape))
    return gau


positions = st.sampled_from(["none", "rotary", "learned", "rank", "t5"])
functions = st.sampled_from(["softmax", "relu2", "laplace"])
every_compaction = st.sampled_from([PackedCompaction(), PaddedCompaction(), CapacityCompaction(1.0)])
rates = st.lists(st.sampled_from([0.0, 0.1, 0.6, 1.0]), min_size=1, max_size=4)


def batch(rates, length):
    """Inputs whose skipped elements are NaN."""
    active = torch.rand(len(rates), length) < torch.tensor(rates)[:, None]
    x = torch.randn(len(rates), length, D, dtype=torch.float64)
    return x.masked_fill(~active[..., None], float("nan")), active


@given(
    rates=rates,
    length=st.integers(1, 120),
    compaction=every_compaction,
    kind=positions,
    attention=functions,
    window=st.sampled_from([None, 1, 8, 16, 30]),
    bidirectional=st.booleans(),
)
def test_equals_dense_attention_row_by_row(rates, length, compaction, kind, attention, window, bidirectional):
    gau = make(kind, attention=attention, window=window, bidirectional=bidirectional)
    x, active = batch(rates, length)
    elements = compaction.compress(x, active)
    y = compaction.extract(gau(elements), elements, x.shape)
    assert (y[~active] == 0).all()
    for b in range(len(rates)):
        places = active[b].nonzero().squeeze(1)
        torch.testing.assert_close(y[b, places], oracle(gau, x[b, places], places))


@given(
    rates=rates,
    cuts=st.lists(st.sampled_from([1, 1, 1, 2, 9, 40]), min_size=1, max_size=30),
    compaction=every_compaction,
    kind=positions,
    attention=functions,
    window=st.sampled_from([1, 3, 8, 30]),
)
def test_steps_equal_forward(rates, cuts, compaction, kind, attention, window):
    gau = make(kind, attention=attention, window=window)
    x, active = batch(rates, sum(cuts))
    elements = compaction.compress(x, active)
    expected = compaction.extract(gau(elements), elements, x.shape)
    state, start, results = gau.init_state(len(rates)), 0, []
    sizes = {name: tensor.shape for name, tensor in state.tensors()}
    for n in cuts:
        piece = slice(start, start + n)
        elements = compaction.compress(x[:, piece], active[:, piece])
        elements = replace(elements, position=torch.where(elements.valid, elements.position + start, 0))
        results.append(compaction.extract(gau.step(elements, state), elements, (len(rates), n, D)))
        start += n
    torch.testing.assert_close(torch.cat(results, 1), expected)
    assert sizes == {name: tensor.shape for name, tensor in state.tensors()}
    assert torch.equal(state.count, active.sum(1))


def test_state_advances_only_in_rows_that_activate():
    gau = make("rotary")
    state = gau.init_state(3)
    x, active = batch([1.0, 0.0, 1.0], 4)
    gau.step(PackedCompaction().compress(x, active), state)
    for length in (1, 3):
        before = state.map(torch.clone)
        x, active = batch([0.0, 1.0, 1.0], length)
        gau.step(PackedCompaction().compress(x, active), state)
        for old, new in (
            (before.keys, state.keys),
            (before.values, state.values),
            (before.count, state.count),
        ):
            assert torch.equal(old[0], new[0])
            assert not torch.equal(old[1], new[1])
            assert not torch.equal(old[2], new[2])


def test_initialisation_is_the_published_one():
    gau = GAU(128)
    assert gau.d_hidden == 256
    for weight in (gau.input.weight, gau.output.weight, gau.gamma):
        assert 0.012 < weight.std() < 0.022
        assert weight.abs().max() <= 0.04
    for bias in (gau.input.bias, gau.output.bias, gau.beta):
        assert (bias == 0).all()


def test_training_drops_evaluation_does_not():
    x, active = torch.randn(1, 40, D), torch.ones(1, 40, dtype=torch.bool)
    elements = PackedCompaction().compress(x, active)
    for name in ("dropout", "hidden_dropout", "output_dropout"):
        gau = GAU(D, d_qk=4, window=4, **{name: 0.5})
        assert not torch.equal(gau(elements), gau(elements)), name
        gau.eval()
        assert torch.equal(gau(elements), gau(elements)), name


def test_flops_are_those_of_the_matrices():
    gau = GAU(8, d_qk=4, d_hidden=6, window=3)
    linear = 2 * 8 * (4 + 6 + 6) + 2 * 6 * 8
    assert gau.flops(1) == linear + 2 * (4 + 6)
    assert gau.flops(100) == 100 * linear + (100 * 4 - 1 - 2 - 3) * 2 * (4 + 6)  # the first three see fewer


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "window=0"),
        ({"window": -3}, "window=-3"),
        ({"d_qk": 0}, "d_qk=0"),
        ({"d_hidden": 0}, "d_hidden=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"hidden_dropout": -0.1}, "hidden_dropout=-0.1"),
        ({"attention": "cosine"}, "unknown attention 'cosine'"),
        ({"position": Rotary(8)}, "d_qk=8"),
        ({"position": RankBias(3, bidirectional=True)}, "bidirectional=True"),
    ],
)
def test_errors_name_the_argument(options, words):
    with pytest.raises(ValueError, match=words):
        GAU(8, **{"d_qk": 4, **options})


@pytest.mark.parametrize("options", [{"window": None}, {"bidirectional": True}])
def test_refuses_to_decode_what_it_cannot(options):
    with pytest.raises(NotImplementedError, match="build it with"):
        GAU(8, **options).init_state(2)


@pytest.mark.slow
def test_compiles_to_one_graph():
    gau = make("rotary")
    x, active = batch([0.5, 1.0], 30)
    elements = CapacityCompaction(1.0).compress(x, active)
    results = []
    for run in (gau, torch.compile(gau, fullgraph=True, backend="aot_eager")):
        gau.zero_grad()
        y = run(elements)
        y.square().sum().backward()
        results.append([y, *(parameter.grad.clone() for parameter in gau.parameters())])
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"window": 3}, r"keys is \(B, 4, 4\), and \(B, 5, 4\) is needed here"),
        ({"d_qk": 2}, r"keys is \(B, 5, 2\), and \(B, 5, 4\) is needed here"),
        ({"d_hidden": 6}, r"values is \(B, 5, 6\), and \(B, 5, 16\) is needed here"),
    ],
)
def test_a_state_of_another_one_is_refused(other, message):
    elements = PackedCompaction().compress(torch.randn(1, 1, 8), torch.ones(1, 1, dtype=torch.bool))
    sizes = {"d_qk": 4, "window": 4}
    state = GAU(8, **(sizes | other)).init_state(1)
    with pytest.raises(ValueError, match=r"the state is of another model: WorkingMemory\." + message):
        GAU(8, **sizes).step(elements, state)
