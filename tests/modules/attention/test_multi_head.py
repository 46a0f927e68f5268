import pytest
import torch

from sma import CapacityCompaction, PackedCompaction, PaddedCompaction
from sma.modules import DenseAttention, LearnedBias, MultiHeadAttention, Rotary
from sma.testing import SequenceModuleContract, SubModuleContract

D, H = 8, 2


class TestMultiHead(SubModuleContract):
    def make(self):
        return MultiHeadAttention(self.d_model, n_heads=2, window=3, position=Rotary(4), dropout=0.2)


class TestMultiHeadBidirectional(SubModuleContract):
    supports_decoding = False

    def make(self):
        return MultiHeadAttention(self.d_model, n_heads=4, bidirectional=True, position=LearnedBias(6))


class TestDense(SequenceModuleContract):
    def make(self):
        return DenseAttention(self.d_model, n_heads=2, position=Rotary(4), max_positions=12, dropout=0.2)


class TestDenseBidirectional(SequenceModuleContract):
    def make(self):
        return DenseAttention(self.d_model, n_heads=2, bidirectional=True)


def oracle(heads, x, positions, reach, bidirectional):
    """One row, `x (N, D)`: head by head and query by query."""
    q, k, v = (z.view(len(x), H, D // H) for z in heads.input(x).chunk(3, 1))
    q, k = (heads.position.rotate(z, positions) for z in (q, k))
    bias = heads.position.bias()
    y = torch.zeros_like(v)
    for t in range(len(x)):
        seen = slice(max(t - reach, 0), t + 1 + (reach if bidirectional else 0))
        added = 0 if bias is None else bias(positions[seen] - positions[t])
        for h in range(H):
            scores = k[seen, h] @ q[t, h] / (D // H) ** 0.5 + added
            y[t, h] = scores.softmax(0) @ v[seen, h]
    return heads.output(y.flatten(1))


def randomised(module):
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape))
    return module


@pytest.mark.parametrize("compaction", [PackedCompaction(), PaddedCompaction(), CapacityCompaction(1.0)])
@pytest.mark.parametrize("position", [None, Rotary(D // H), LearnedBias(20)])
@pytest.mark.parametrize("window", [4, None])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_elements_equal_a_loop(compaction, position, window, bidirectional):
    options = {"window": window, "bidirectional": bidirectional, "position": position}
    module = randomised(MultiHeadAttention(D, n_heads=H, **options))
    active = torch.rand(3, 50) < torch.tensor([[0.9], [0.3], [0.0]])
    x = torch.randn(3, 50, D, dtype=torch.float64).masked_fill(~active[..., None], float("nan"))
    elements = compaction.compress(x, active)
    y = compaction.extract(module(elements), elements, x.shape)
    for b in range(3):
        places = active[b].nonzero().squeeze(1)
        expected = oracle(module.heads, x[b, places], places, window or 50, bidirectional)
        torch.testing.assert_close(y[b, places], expected)


@pytest.mark.parametrize("position", [None, Rotary(D // H)])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_sequences_equal_a_loop(position, bidirectional, masked):
    module = randomised(DenseAttention(D, n_heads=H, bidirectional=bidirectional, position=position))
    x = torch.randn(3, 20, D, dtype=torch.float64)
    mask = torch.rand(3, 20) < torch.tensor([[0.9], [0.3], [0.0]]) if masked else None
    real = torch.ones(3, 20, dtype=torch.bool) if mask is None else mask
    y = module(x.masked_fill(~real[..., None], float("nan")), mask)
    assert (y[~real] == 0).all()
    for b in range(3):
        places = real[b].nonzero().squeeze(1)
        expected = oracle(module.heads, x[b, places], places, 20, bidirectional)
        torch.testing.assert_close(y[b, places], expected)


def test_both_agree_where_everything_is_active():
    dense, routed = DenseAttention(D, n_heads=H), MultiHeadAttention(D, n_heads=H)
    routed.load_state_dict(dense.state_dict())
    x, everything = torch.randn(2, 30, D), torch.ones(2, 30, dtype=torch.bool)
    elements = PackedCompaction().compress(x, everything)
    torch.testing.assert_close(routed(elements).view_as(x), dense(x))
    assert dense.flops(30) == routed.flops(30)


def test_decoding_beyond_max_positions_is_an_error():
    module = DenseAttention(D, n_heads=H, max_positions=4)
    state = module.init_state(2)
    module.step(torch.randn(2, 4, D), state, torch.tensor([[True] * 4, [True, True, False, False]]))
    module.step(torch.randn(2, 2, D), state, torch.tensor([[False] * 2, [True] * 2]))
    with pytest.raises(ValueError, match="5 elements, more than max_positions=4"):
        module.step(torch.randn(2, 1, D), state)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MultiHeadAttention(8, n_heads=3), "n_heads=3 must divide d_model=8"),
        (lambda: MultiHeadAttention(8, n_heads=2, window=0), "window=0"),
        (lambda: MultiHeadAttention(8, n_heads=2, dropout=1.0), "dropout=1.0"),
        (lambda: MultiHeadAttention(8, n_heads=2, position=Rotary(8)), "d_qk=8"),
        (lambda: DenseAttention(8, n_heads=0), "n_heads=0"),
        (lambda: DenseAttention(8, n_heads=2, max_positions=0), "max_positions=0"),
        (lambda: DenseAttention(8, n_heads=2, position=LearnedBias(3)), "position=LearnedBias"),
    ],
)
def test_errors_name_the_argument(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "module",
    [
        MultiHeadAttention(8, n_heads=2),
        MultiHeadAttention(8, n_heads=2, window=3, bidirectional=True),
        DenseAttention(8, n_heads=2),
        DenseAttention(8, n_heads=2, max_positions=3, bidirectional=True),
    ],
)
def test_refuses_to_decode_what_it_cannot(module):
    with pytest.raises(NotImplementedError, match="build it with"):
        module.init_state(2)
