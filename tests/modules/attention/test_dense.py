import pytest
import torch

from sma import PackedCompaction
from sma.modules import DenseAttention, LearnedBias, MultiHeadAttention, Rotary
from sma.testing import SequenceModuleContract

D, H = 8, 2


class TestDense(SequenceModuleContract):
    def make(self):
        return DenseAttention(self.d_model, n_heads=2, position=Rotary(4), max_positions=12, dropout=0.2)


class TestDenseBidirectional(SequenceModuleContract):
    def make(self):
        return DenseAttention(self.d_model, n_heads=2, bidirectional=True)


def oracle(heads, x, position, bidirectional):
    """One row, `x (N, D)`: head by head."""
    q, k, v = (z.view(len(x), H, D // H) for z in heads.input(x).chunk(3, 1))
    q, k = (heads.position.rotate(z, position) for z in (q, k))
    seen = torch.ones(len(x), len(x), dtype=torch.bool)
    seen = seen if bidirectional else seen.tril()
    scores = [(q[:, h] @ k[:, h].T / (D // H) ** 0.5).masked_fill(~seen, -torch.inf) for h in range(H)]
    return heads.output(torch.cat([s.softmax(-1) @ v[:, h] for h, s in enumerate(scores)], 1))


@pytest.mark.parametrize("position", [None, Rotary(D // H)])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_sequences_equal_a_loop(position, bidirectional, masked):
    module = DenseAttention(D, n_heads=H, bidirectional=bidirectional, position=position).double()
    x = torch.randn(3, 20, D, dtype=torch.float64)
    mask = torch.rand(3, 20) < torch.tensor([[0.9], [0.3], [0.0]]) if masked else None
    real = torch.ones(3, 20, dtype=torch.bool) if mask is None else mask
    y = module(x.masked_fill(~real[..., None], 0), mask)
    assert (y[~real] == 0).all()
    for b in range(3):
        places = real[b].nonzero().squeeze(1)
        expected = oracle(module.heads, x[b, places], torch.arange(len(places)), bidirectional)
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
        (lambda: DenseAttention(8, n_heads=0), "n_heads=0"),
        (lambda: DenseAttention(8, n_heads=2, max_positions=0), "max_positions=0"),
        (lambda: DenseAttention(8, n_heads=2, position=LearnedBias(3)), "position=LearnedBias"),
    ],
)
def test_errors_name_the_argument(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("options", [{}, {"max_positions": 3, "bidirectional": True}])
def test_refuses_to_decode_what_it_cannot(options):
    with pytest.raises(NotImplementedError, match="build it with"):
        DenseAttention(8, n_heads=2, **options).init_state(2)
