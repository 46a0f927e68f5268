import pytest
from pydantic import ValidationError

from sma.architectures.specs.feed_forward import LearnedBiasSpec, RankBiasSpec
from sma.architectures.specs.mega_layer import MegaSpec, RotaryBiasSpec
from sma.architectures.specs.norms import ScaleNormSpec
from sma.architectures.specs.ssm import EMASpec
from sma.modules.attention.positions import LearnedBias, RankBias
from sma.testing import SpecContract


class TestChunks(SpecContract):
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


class TestWholeRows(SpecContract):
    def make(self):
        return MegaSpec(max_positions=30, position=LearnedBiasSpec(max_positions=9))


def test_fields_arrive():
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
    [({"d_qk": 5}, "d_qk must be even"), ({"position": "rank"}, "set chunk"), ({"chunk": 0}, "greater than")],
)
def test_errors(fields, message):
    with pytest.raises(ValidationError, match=message):
        MegaSpec.model_validate(fields)
