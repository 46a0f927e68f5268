import pytest

from sma.architectures.specs.attention import (
    DenseAttentionSpec,
    LearnedBiasSpec,
    MegaSpec,
    MultiHeadAttentionSpec,
    NoPositionSpec,
    RankBiasSpec,
    RotaryBiasSpec,
)
from sma.architectures.specs.norms import ScaleNormSpec
from sma.architectures.specs.ssm import EMASpec
from sma.modules.attention.positions import LearnedBias, RankBias
from sma.testing import SpecContract


class TestMultiHeadAttention(SpecContract):
    def make(self):
        return MultiHeadAttentionSpec(n_heads=2, window=3, bidirectional=True, position=RankBiasSpec())


class TestDenseAttention(SpecContract):
    def make(self):
        return DenseAttentionSpec(n_heads=4, position=NoPositionSpec(), max_positions=12)


def test_fields_arrive():
    attention = MultiHeadAttentionSpec(n_heads=2, window=3, position=RankBiasSpec(), dropout=0.1).build(8)
    assert (attention.window, attention.dropout, attention.heads.n_heads) == (3, 0.1, 2)
    assert isinstance(attention.heads.position, RankBias)
    dense = DenseAttentionSpec(n_heads=2, bidirectional=True, dropout=0.2).build(8)
    assert (dense.bidirectional, dense.dropout, dense.heads.position.d_qk) == (True, 0.2, 4)


def test_rank_bias_needs_a_window():
    spec = MultiHeadAttentionSpec(n_heads=2, position=RankBiasSpec())
    with pytest.raises(ValueError, match="set window"):
        spec.build(8)


def test_heads_must_divide_the_width():
    for spec in (MultiHeadAttentionSpec(n_heads=3), DenseAttentionSpec(n_heads=16)):
        with pytest.raises(ValueError, match=r"d_qk|n_heads"):
            spec.build(8)


class TestMegaInChunks(SpecContract):
    def make(self):
        return MegaSpec(
            repeat=2,
            norm=ScaleNormSpec(),
            norm_position="post",
            mixer=EMASpec(d_state=3, truncation=7, bidirectional=True),
            d_qk=6,
            d_hidden=10,
            chunk=4,
            bidirectional=True,
            attention="laplace",
            position=RotaryBiasSpec(max_positions=4),
        )


class TestMegaOfWholeRows(SpecContract):
    def make(self):
        return MegaSpec(max_positions=30, position=LearnedBiasSpec(max_positions=9))


def test_fields_of_mega_arrive():
    spec = MegaSpec(chunk=5, position=RankBiasSpec(), dropout=0.1, attention_dropout=0.2, hidden_dropout=0.3)
    layer = spec.build(8)
    assert layer.attention.chunk == 5
    assert isinstance(layer.attention.position, RankBias)
    assert layer.value.out_features == 16
    assert (layer.dropout.p, layer.attention.dropout.p, layer.hidden_dropout.p) == (0.1, 0.2, 0.3)
    position = LearnedBiasSpec(max_positions=9)
    assert isinstance(MegaSpec(position=position).build(8).attention.position, LearnedBias)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_qk": 5}, "d_qk=5 must be even"),
        ({"position": "rank"}, "chunk in mega"),
        ({"chunk": 0}, "greater"),
    ],
)
def test_errors_of_mega(fields, message):
    with pytest.raises(ValueError, match=message):
        MegaSpec.model_validate(fields).build(8)
