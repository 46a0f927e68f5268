import pytest

from sma.architectures import mega, mega_chunk
from sma.architectures.specs.attention import LearnedBiasSpec, NoPositionSpec
from sma.modules.attention.mega import MegaAttention

SIZES = {"d_model": 8, "n_layers": 2, "d_qk": 4, "d_state": 2, "vocab_size": 11}


def test_layers():
    for layer in mega_chunk(**SIZES, chunk=3).build().blocks:
        attention, feed_forward = layer.blocks
        assert type(attention) is MegaAttention
        assert feed_forward.branches[0].module.hidden.out_features == 16
    assert len(mega(**SIZES, d_feed_forward=None).build().blocks) == 2


@pytest.mark.parametrize(("preset", "option"), [(mega, "max_positions"), (mega_chunk, "chunk")])
def test_the_default_position_reaches_as_far_as_attention(preset, option):
    layer = preset(**SIZES, **{option: 5}).blocks[0].blocks[0]
    assert getattr(layer, option) == 5
    assert layer.position == LearnedBiasSpec(max_positions=5)
    other = preset(**SIZES, **{option: 5}, position="none").blocks[0].blocks[0]
    assert other.position == NoPositionSpec()


def test_both_blocks_have_the_norm():
    (layer,) = mega(**SIZES, norm="rms_norm", norm_position="post").blocks
    assert [(block.norm.kind, block.norm_position) for block in layer.blocks] == [("rms_norm", "post")] * 2
