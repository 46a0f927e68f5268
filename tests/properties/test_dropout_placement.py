"""Dropout stands where the published code has it.

Each place is tested alone, with a rate so close to 1 that nothing passes: what is left says where it is.
"""

import pytest
import torch
from torch.nn import functional as F

from sma.architectures import seqboat, seqboat_block, seqboat_enwik8, seqboat_lra_image, seqboat_lra_listops
from sma.architectures.models.embeddings import ScalarsSpec, TokensSpec
from sma.architectures.models.heads import Classifier
from sma.architectures.specs.norms import ScaleNormSpec
from sma.architectures.specs.routers import AlwaysActiveSpec

D = 8
ALL = 1 - 1e-12
OPTIONS = {"d_qk": 4, "window": 3, "d_state": 2}


def build(bidirectional, **rates):
    """A SeqBoat layer that activates everything, with `rates` in place of its own dropout rates."""
    torch.manual_seed(0)
    spec = seqboat_block(bidirectional=bidirectional, **OPTIONS)
    linear, routed = spec.branches
    gau = routed.modules[0].model_copy(update=rates.pop("gau", {}))
    routed = routed.model_copy(update={"router": AlwaysActiveSpec(), "modules": (gau,)})
    block = spec.model_copy(update={"branches": (linear, routed), **rates}).build(D).double().train()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return block, torch.randn(2, 9, D, dtype=torch.float64)


def parts(block, x):
    """The layer without any dropout: h, then linear(h), GAU(h)."""
    block.eval()
    h = F.silu(block.mixer(block.pre_norm(x)))
    results = h, block.branches[0](h), block.branches[1](h)
    block.train()
    return results


@pytest.mark.parametrize("bidirectional", [False, True])
def test_rates_of_a_layer(bidirectional):
    spec = seqboat_block(bidirectional=bidirectional, dropout=0.25)
    gau = spec.branches[1].modules[0]
    assert spec.mixer_dropout == 0.25
    assert (gau.output_dropout, spec.dropout) == ((0.25, 0) if bidirectional else (0, 0.25))
    assert (gau.dropout, gau.hidden_dropout) == (0, 0)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_on_the_moving_average(bidirectional):
    block, x = build(bidirectional, mixer_dropout=ALL)
    nothing = torch.zeros_like(x)
    expected = F.silu(x + block.branches[0](nothing) + block.branches[1](nothing))
    torch.testing.assert_close(block(x), expected)


def test_bidirectional_on_the_gau_alone():
    block, x = build(True, gau={"output_dropout": ALL})
    h, linear, gau = parts(block, x)
    torch.testing.assert_close(block(x), F.silu(x + linear))
    assert gau.abs().max() > 0.1
    assert h.abs().max() > 0.1


def test_causal_on_the_sum_of_both_branches():
    block, x = build(False, dropout=ALL)
    torch.testing.assert_close(block(x), F.silu(x))


def test_on_the_values_and_on_the_attention_weights():
    for place in ("dropout", "hidden_dropout"):
        block, x = build(True, gau={place: ALL})
        _, linear, _ = parts(block, x)
        bias = block.branches[1].sub_modules[0].output.bias  # all that is left of the GAU
        torch.testing.assert_close(block(x), F.silu(x + linear + bias))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_share_and_scale_of_what_is_dropped(bidirectional):
    block, _ = build(bidirectional, mixer_dropout=0.3, activation="identity")
    with torch.no_grad():
        block.branches[0].module.weight.copy_(torch.eye(D))
        block.branches[0].module.bias.zero_()
        for parameter in block.branches[1].parameters():
            parameter.zero_()
    x = torch.randn(4, 500, D, dtype=torch.float64)
    h = block.mixer(block.pre_norm(x))
    kept = block(x) - x
    dropped = kept.abs() < 1e-12
    assert abs(dropped.double().mean() - 0.3) < 0.02
    torch.testing.assert_close(kept[~dropped], (h / 0.7)[~dropped])
    assert len(set(dropped.sum((1, 2)).tolist())) > 1  # rows draw apart
    torch.testing.assert_close(block.eval()(x) - x, h)


def test_skipped_elements_keep_their_place():
    spec = seqboat_block(bidirectional=True, dropout=0.5, **OPTIONS)
    block = spec.build(D).double().train()
    x = torch.randn(2, 9, D, dtype=torch.float64)
    with torch.no_grad():
        block.branches[1].router.projection.bias.copy_(torch.tensor([9.0, -9.0]))  # nothing activates
    block.mixer_dropout.p = 0.0
    h = F.silu(block.mixer(block.pre_norm(x)))
    torch.testing.assert_close(block(x), F.silu(x + block.branches[0](h)))


@pytest.mark.parametrize(
    ("spec", "inputs"),
    [
        (TokensSpec(vocab_size=9, scale=True, dropout=ALL), torch.zeros(2, 5, dtype=torch.long)),
        (TokensSpec(vocab_size=9, sinusoid=True, norm=ScaleNormSpec(), dropout=ALL), torch.ones(2, 5).long()),
        (ScalarsSpec(sinusoid=True, dropout=ALL), torch.ones(2, 5)),
    ],
)
def test_on_the_embedding_with_its_positions(spec, inputs):
    embedding = spec.build(D).train()
    assert (embedding(inputs) == 0).all()
    assert (embedding.eval()(inputs) != 0).any()


def test_in_the_head_before_the_activation():
    torch.manual_seed(0)
    head = Classifier(D, n_classes=400, d_hidden=400, bias=False, dropout=0.5).train()
    with torch.no_grad():
        head.output.weight.copy_(torch.eye(400))
    x = torch.randn(1, 5, D)
    hidden = head.hidden[0](x.mean(1))
    y = head(x)
    dropped = y == 0
    assert abs(dropped.float().mean() - 0.5) < 0.1
    torch.testing.assert_close(y[~dropped], F.gelu(2 * hidden)[~dropped])


def test_rates_of_whole_models():
    for spec, rate in ((seqboat_lra_listops(), 0.1), (seqboat_lra_image(), 0.0)):
        assert (spec.embedding.dropout, spec.head.dropout, spec.blocks[0].mixer_dropout) == (rate,) * 3
    enwik8 = seqboat_enwik8()
    assert (enwik8.embedding.dropout, enwik8.blocks[0].mixer_dropout, enwik8.blocks[0].dropout) == (0.15,) * 3
    assert seqboat(vocab_size=9, d_model=8, n_layers=1, dropout=0.2).embedding.dropout == 0.2
