import pytest
import torch

from sma.architectures.presets import seqboat_published as published
from sma.architectures.published import models as reference_models
from sma.architectures.published.arguments import kind_of, parse
from sma.architectures.published.load import parameters_published
from sma.architectures.specs.attention import RankBiasSpec

LRA = (
    "--n-dim 16 --chunk-size 128 --activation-fn silu --sen-rep-type mp --attention-dropout 0.0 "
    "--act-dropout 0.0 --encoder-ffn-embed-dim -1 "
)
TEXT = LRA + "--input-type text --attention-activation-fn softmax --dropout 0.1 "
PIXELS = (
    LRA + "--input-type image --attention-activation-fn relu2 --dropout 0.0 --encoder-normalize-before "
    "--add-apos --norm-type batchnorm "
)

# The words of the official training scripts that say what the model is.
SCRIPTS = {
    "seqboat_lra_listops": "-a slag_lra_listop "
    + TEXT
    + "--encoder-layers 6 --norm-type layernorm --init-temp-scale 0.3",
    "seqboat_lra_text": "-a slag_lra_imdb "
    + TEXT
    + "--encoder-layers 4 --norm-type scalenorm --init-temp-scale 0.3 --local-pos",
    "seqboat_lra_retrieval": "-a slag_lra_aan " + TEXT + "--encoder-layers 6 --norm-type scalenorm --use-nli",
    "seqboat_lra_image": "-a slag_lra_cifar10 " + PIXELS + "--encoder-layers 8 --init-temp-scale 0.4",
    "seqboat_lra_pathfinder": "-a slag_lra_pf32 " + PIXELS + "--encoder-layers 6 --init-temp-scale 1.0",
    "seqboat_lra_path_x": "-a slag_lra_pf128_base "
    + PIXELS
    + "--norm-type syncbatchnorm --chunk-size 256 --encoder-layers 4 --init-temp-scale 1.0",
    "seqboat_speech_commands": "-a slag_sc_raw_base --encoder-normalize-before --dropout 0.0 "
    "--attention-dropout 0.0 --act-dropout 0.0 --sentence-class-num 10 --max-positions 16000 --act-bias 0 "
    "--truncation-length 4000 --chunk-size 128 --init-temp-scale 1.0 --encoder-ffn-embed-dim -1 "
    "--attention-activation-fn relu2 --rel-pos-bias simple --local-pos",
    "seqboat_enwik8": "-a slag_lm_enwik8_base_v2 --max-target-positions 10384 --activation-fn silu "
    "--attention-activation-fn softmax --decoder-n-dim 16 --decoder-chunk-size 1024 --normalize-before "
    "--no-affine-final-norm --normalization-type layernorm --rel-pos-bias rotary --init-temp-scale 1.0 "
    "--share-decoder-input-output-embed --dropout 0.15 --attention-dropout 0.0 --hidden-dropout 0.0 "
    "--decoder-ffn-embed-dim -1",
}
VOCABULARIES = {"seqboat_lra_listops": 24, "seqboat_lra_text": 264, "seqboat_lra_retrieval": 264}
NAMES = sorted(published.PUBLISHED_PARAMETERS)


def test_every_preset_is_covered():
    assert sorted(SCRIPTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_preset_is_what_the_script_asks_for(name):
    words = SCRIPTS[name].split()
    kind = kind_of(words[1])
    values = parse(kind, words)
    if kind == "fairseq_lm":
        script = reference_models.language_model(values, vocab_size=208)
    else:
        audio = kind == "fairseq_sc"
        script = reference_models.classifier(values, audio=audio, vocab_size=VOCABULARIES.get(name))
    assert getattr(published, name)() == script.spec


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_published_ones_up_to_unused_entries(name):
    spec = getattr(published, name)()
    (block,) = spec.blocks
    gau = block.branches[1].modules[0]
    unused = 0
    if isinstance(gau.position, RankBiasSpec):
        unused = block.repeat * ((6 * gau.window - 1) - (2 * gau.window + 1))
    with torch.device("meta"):
        here = sum(p.numel() for p in spec.build().parameters())
    count = published.PUBLISHED_PARAMETERS[name]
    assert here == count - unused
    assert parameters_published(spec).parameters == count
    assert bool(parameters_published(spec).reason) == bool(unused)


def test_path_x_as_in_the_instructions():
    assert parameters_published(published.seqboat_lra_path_x(n_layers=6)).parameters == 1_076_621


def test_only_the_rank_biases_differ():
    differing = {n for n in NAMES if parameters_published(getattr(published, n)()).reason}
    assert differing == {"seqboat_lra_text", "seqboat_speech_commands"}


@pytest.mark.parametrize("name", ["seqboat_lra_listops", "seqboat_lra_retrieval", "seqboat_speech_commands"])
def test_they_run(name):
    model = getattr(published, name)().build().eval()
    if name == "seqboat_speech_commands":
        inputs, mask = torch.randn(2, 50), None
    else:
        inputs, mask = torch.randint(1, 20, (2, 30)), torch.arange(30) < torch.tensor([[30], [12]])
    if name == "seqboat_lra_retrieval":
        inputs, mask = (inputs, inputs.flip(1)), (mask, mask)
    with torch.no_grad():
        assert torch.isfinite(model(inputs, mask)).all()
