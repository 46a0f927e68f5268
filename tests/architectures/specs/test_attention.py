import pytest
from pydantic import ValidationError

from sma.architectures.specs.attention import DenseAttentionSpec, MultiHeadAttentionSpec
from sma.architectures.specs.feed_forward import NoPositionSpec, RankBiasSpec
from sma.modules import RankBias
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
    with pytest.raises(ValidationError, match="set window"):
        MultiHeadAttentionSpec(n_heads=2, position=RankBiasSpec())


def test_heads_must_divide_the_width():
    for spec in (MultiHeadAttentionSpec(n_heads=3), DenseAttentionSpec(n_heads=16)):
        with pytest.raises(ValueError, match=r"d_qk|n_heads"):
            spec.build(8)
