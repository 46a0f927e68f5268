import pytest
import torch

from sma import CapacityCompaction, PackedCompaction, PaddedCompaction
from sma.modules import LearnedBias, MultiHeadAttention, Rotary
from sma.testing import SubModuleContract

D, H = 8, 2


class TestMultiHead(SubModuleContract):
    def make(self):
        return MultiHeadAttention(self.d_model, n_heads=2, window=3, position=Rotary(4), dropout=0.2)


class TestMultiHeadBidirectional(SubModuleContract):
    supports_decoding = False

    def make(self):
        return MultiHeadAttention(self.d_model, n_heads=4, bidirectional=True, position=LearnedBias(6))


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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MultiHeadAttention(8, n_heads=3), "n_heads=3 must divide d_model=8"),
        (lambda: MultiHeadAttention(8, n_heads=2, window=0), "window=0"),
        (lambda: MultiHeadAttention(8, n_heads=2, dropout=1.0), "dropout=1.0"),
        (lambda: MultiHeadAttention(8, n_heads=2, position=Rotary(8)), "d_qk=8"),
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
    ],
)
def test_refuses_to_decode_what_it_cannot(module):
    with pytest.raises(NotImplementedError, match="build it with"):
        module.init_state(2)
