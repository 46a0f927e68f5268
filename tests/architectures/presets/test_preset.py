import inspect

import pytest
import torch
from pydantic import ValidationError

from sma.architectures import (
    gau_always,
    local_attention,
    mega,
    mega_chunk,
    seqboat,
    seqboat_block,
    seqboat_full,
    sequence_model,
    ssm_only,
    transformer,
)
from sma.architectures.files.yaml import parse_spec
from sma.architectures.specs.attention import GAUSpec
from sma.architectures.specs.norms import RMSNormSpec

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
    with pytest.raises(TypeError, match=rf"{preset.__name__}: there is no option 'dropuot'.*dropout"):
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


def test_blocks_and_the_ends_make_the_model():
    options = {"n_layers": 2, "window": 3, "d_qk": 4}
    blocks = seqboat.blocks(**options)
    assert blocks == (seqboat_block(**options),)
    spec = seqboat(d_model=8, vocab_size=11, norm="rms_norm", dropout=0.1, **options)
    changed = seqboat.blocks(norm="rms_norm", dropout=0.1, **options)
    ends = {"vocab_size": 11, "norm": RMSNormSpec(), "dropout": 0.1}
    assert sequence_model(changed, d_model=8, **ends) == spec
    assert (
        seqboat.blocks(**options, bidirectional=True)
        == seqboat(**options, d_model=8, d_input=1, n_classes=2).blocks
    )
    both = seqboat(d_model=8, vocab_size=11, n_classes=2, bidirectional=False, **options)
    assert both.blocks == blocks


def test_a_width_is_asked_for_only_where_blocks_depend_on_it():
    assert mega.blocks(d_model=8, n_layers=3, d_feed_forward=None)[0].repeat == 3
    with pytest.raises(ValueError, match=r"d_model\n  is missing; set it"):
        mega.blocks(n_layers=3)
    with pytest.raises(TypeError, match="seqboat: there is no option 'd_model'"):
        seqboat.blocks(d_model=8)


def test_a_preset_says_its_options():
    parameters = inspect.signature(seqboat).parameters
    assert {"d_model", "n_layers", "window", "dropout", "vocab_size", "n_classes"} <= set(parameters)
    assert parameters["window"].default == GAUSpec.model_fields["window"].default
    assert "of `GAUSpec` d_qk d_hidden window" in seqboat.__doc__
    assert seqboat.__name__ == "seqboat"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, r"window\n  Input should be greater than or equal to 1"),
        ({"dropout": 1.0}, r"dropout\n  Input should be less than 1"),
        ({"norm": "rms"}, r"norm\n  unknown kind 'rms' of NormSpec.*rms_norm"),
        ({"n_layers": 5000}, r"n_layers\n  Input should be less than or equal to 4096"),
        ({"bidirectional": "perhaps"}, r"bidirectional\n  Input should be a valid boolean"),
    ],
)
def test_a_wrong_value_is_named(options, message):
    with pytest.raises(ValidationError, match=message):
        seqboat(**{"vocab_size": 11, "d_model": 8, "n_layers": 2, **options})


def test_a_misspelt_option_is_told_its_neighbour():
    with pytest.raises(TypeError, match=r"no option 'windw'.*window"):
        seqboat_block(windw=3)
    with pytest.raises(ValueError, match=r"no option 'windw'.*window"):
        parse_spec({"preset": "seqboat", "vocab_size": 11, "d_model": 8, "n_layers": 2, "windw": 3})
