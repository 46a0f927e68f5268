"""Reasons against routing a model's parts."""

import warnings

import pytest
import torch
from torch import nn
from transformers import BartConfig, BartModel, T5Config, T5ForConditionalGeneration

from sma.transformers.sparsification import routed_parts, sparsify

from .conftest import tiny
from .test_wrap import refused

MAPS = {"query": "q_proj", "output": "out_proj", "keys": ("k_proj", "v_proj")}
NAMED = {"parts": ("attention",), "named": ({"part": "attention", "pattern": "layers.*.self_attn", **MAPS},)}


def bart():
    torch.manual_seed(0)
    sizes = {f"{side}_{of}": 4 for side in ("encoder", "decoder") for of in ("ffn_dim", "attention_heads")}
    sizes.update(vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, max_position_embeddings=16)
    return BartModel(BartConfig(**sizes)).eval()


def dynamic():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to be moved to another package
        return torch.ao.quantization.quantize_dynamic(tiny("llama"), {nn.Linear}, dtype=torch.qint8)


def eight_bits():
    model = tiny("llama")
    layer = model.model.layers[1].mlp.up_proj
    layer.weight = nn.Parameter(layer.weight.to(torch.float8_e4m3fn), requires_grad=False)
    return model


@pytest.mark.parametrize(
    ("build", "name"),
    [(dynamic, r"layers\.0\.self_attn\.q_proj\.weight"), (eight_bits, r"layers\.1\.mlp\.up_proj\.weight")],
)
def test_quantised_weights(build, name):
    refused(build(), {}, rf"weights are quantised \(model\.{name}\); sparsify the model in floating point")


def test_of_an_encoder_and_a_decoder_the_encoder_can_be_sparsified_alone():
    model = bart()
    for whole in (model, model.get_decoder()):
        refused(whole, NAMED, r"attends to another sequence.*sparsify its encoder alone, as get_encoder\(\)")
    encoder = model.get_encoder()
    ids = torch.arange(5)[None]
    with torch.no_grad():
        wanted = encoder(ids).last_hidden_state
        found = sparsify(encoder, **NAMED)(ids).last_hidden_state
    assert list(routed_parts(encoder)) == ["layers.0.self_attn"]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_an_encoder_whose_class_is_the_decoder_s_too():
    sizes = {"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    model = T5ForConditionalGeneration(T5Config(**sizes)).eval()
    named = {"part": "feed_forward", "pattern": "block.*.layer.1.DenseReluDense"}
    refused(model.get_decoder(), {"named": (named,)}, "attends to another sequence")
    assert len(routed_parts(sparsify(model.get_encoder(), named=(named,)))) == 1


@pytest.mark.parametrize("parts", [("feed_forward",), ("layer",)])
def test_a_loss_over_the_gates_of_all_tokens(parts):
    model = tiny("qwen2_moe", output_router_logits=True)
    refused(model, {"parts": parts}, r"output_router_logits=True: .* gate in layers\.0.*; set it to False")
    sparsify(model, parts=("attention",))


def test_shared_layers_have_a_remedy():
    model = tiny("llama")
    model.model.layers[1] = model.model.layers[0]
    refused(model, {}, r"used in several places .* \(copy\.deepcopy\), or leave layers\.0\.mlp out by `only`")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parts": ("mlp",)}, r"^parts\.0='mlp': Input should be 'feed_forward', 'attention' or 'layer'$"),
        ({"rate": 2, "ramp": 3}, r"^rate=2: .* \| ramp=3: .*$"),
        ({"rat": 1}, r"^unknown field 'rat'; did you mean rate\?$"),
        ({"spec": 3}, r"^Input should be a valid dictionary or instance of SparsifySpec$"),
    ],
)
def test_a_wrong_spec_is_one_line(fields, message):
    refused(tiny("llama"), fields, message)
