import pytest
import torch

import sma
from sma.architectures import (
    gau_always,
    local_attention,
    mega,
    mega_chunk,
    seqboat_full,
    ssm_only,
    transformer,
)
from sma.architectures.files.yaml import parse_spec
from sma.architectures.presets.mega import mega_blocks
from sma.architectures.specs.attention import NoPositionSpec
from sma.modules.attention.mega import MegaAttention

SIZES = {"d_model": 8, "n_layers": 2, "d_qk": 4, "d_state": 2}
PRESETS = {
    gau_always: {**SIZES, "window": 3},
    mega: SIZES,
    mega_chunk: {**SIZES, "chunk": 3},
    seqboat_full: SIZES,
    ssm_only: {"d_model": 8, "n_layers": 2, "d_state": 2},
    local_attention: {"d_model": 8, "n_layers": 2, "n_heads": 2, "window": 3},
    transformer: {"d_model": 8, "n_layers": 2, "n_heads": 2},
}
every = pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.__name__)


def build(preset, **options):
    torch.manual_seed(0)
    return preset(**{**PRESETS[preset], **options}).build().double().eval()


@every
def test_a_misspelt_option_is_refused(preset):
    with pytest.raises(TypeError, match=r"there is no option 'dropuot'; options: .*dropout"):
        build(preset, vocab_size=11, dropuot=0.1)


@every
def test_classifier_ignores_padding_and_batch_mates(preset):
    model = build(preset, vocab_size=11, n_classes=5, norm_position="post")
    tokens = torch.randint(11, (3, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4], [1]])
    together = model(tokens, mask)
    for row, length in enumerate((9, 4, 1)):
        alone = model(tokens[row : row + 1, :length])
        torch.testing.assert_close(together[row], alone[0], rtol=0, atol=1e-12)


@every
def test_classifier_looks_ahead_and_takes_features(preset):
    spec = preset(**PRESETS[preset], d_input=1, n_classes=3)
    assert not spec.build().blocks[0].causal
    assert parse_spec(spec.model_dump(mode="json")) == spec
    x = torch.randn(2, 9, 1)
    assert spec.build()(x).shape == (2, 3)


@every
def test_language_model_is_causal_and_decodes(preset):
    model = build(preset, vocab_size=11, dropout=0.1)
    tokens = torch.randint(11, (2, 12))
    expected = model(tokens)
    changed = torch.cat((tokens[:, :7], (tokens[:, 7:] + 1) % 11), 1)
    torch.testing.assert_close(model(changed)[:, :7], expected[:, :7], rtol=0, atol=1e-12)
    if preset is seqboat_full:
        with pytest.raises(NotImplementedError, match="window"):
            model.init_state(2)
        return
    scores, state = model.prefill(tokens[:, :5])
    torch.testing.assert_close(scores, expected[:, :5], rtol=0, atol=1e-10)
    for t in range(5, 12):
        torch.testing.assert_close(model.step(tokens[:, t], state), expected[:, t], rtol=0, atol=1e-10)


@every
def test_every_parameter_learns(preset):
    model = build(preset, vocab_size=11)
    model(torch.randint(11, (2, 9))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@every
def test_one_of_the_inputs_is_needed(preset):
    with pytest.raises(ValueError, match="either vocab_size"):
        preset(**PRESETS[preset])


def test_gau_always_activates_everything():
    model = build(gau_always, vocab_size=11)
    with sma.record() as recording:
        model(torch.randint(11, (2, 9)))
    assert [layer.routing.active.all().item() for layer in recording.layers] == [True, True]
    assert all((layer.routing.confidence == 1).all() for layer in recording.layers)


def test_ssm_only_is_seqboat_whose_router_never_activates():
    model = build(ssm_only, vocab_size=11)
    with sma.record() as recording:
        model(torch.randint(11, (2, 9)))
    assert not recording.layers
    assert len(model.blocks[0].branches) == 1


def test_seqboat_full_sees_every_activated_element():
    spec = seqboat_full(**SIZES, vocab_size=11)
    assert spec.blocks[0].branches[1].modules[0].window is None
    with pytest.raises(ValueError, match="window=3; use seqboat"):
        seqboat_full(**SIZES, vocab_size=11, window=3)


def test_mega_layers():
    model = build(mega_chunk, vocab_size=11)
    for layer in model.blocks:
        attention, feed_forward = layer.blocks
        assert type(attention) is MegaAttention
        assert feed_forward.branches[0].module[0].out_features == 16
    assert len(build(mega, vocab_size=11, d_feed_forward=None).blocks) == 2
    spec = mega(**SIZES, vocab_size=11, max_positions=5, position=NoPositionSpec())
    assert spec.blocks[0].blocks[0].max_positions == 5
    assert spec.blocks[0].blocks[0].position == NoPositionSpec()


def test_blocks_without_a_task():
    (block,) = mega_blocks(d_model=8, n_layers=3, d_feed_forward=None)
    assert block.repeat == 3


def test_transformers():
    spec = transformer(d_model=128, n_layers=3, vocab_size=11, max_positions=40)
    (layer,) = spec.blocks
    attention, feed_forward = (block.branches[0] for block in layer.blocks)
    assert (attention.n_heads, attention.max_positions, feed_forward.d_hidden) == (2, 40, 512)
    assert layer.repeat == 3
    assert [block.activation for block in layer.blocks] == ["identity"] * 2
    local = local_attention(d_model=8, n_layers=1, n_heads=4, window=5, d_input=1, n_classes=2)
    module = local.blocks[0].blocks[0].branches[0].module
    assert (module.window, module.bidirectional) == (5, True)
