"""The promise that a model starts as it was is tried, and a model that breaks it is put back."""

import pytest
import torch
from transformers import ConvBertConfig, ConvBertModel

from sma.transformers.sparsification import routed_parts, sparsify
from sma.transformers.sparsification.probe import looks_ahead

from .conftest import tiny
from .test_find_parts import named
from .test_wrap import refused

ATTENTION = {"part": "attention", "query": "query", "output": "dense", "keys": ("key", "value")}
ALBERT = {"parts": ("attention",), "named": ({**ATTENTION, "pattern": "*.attention"},)}


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("llama", named("layers.?"), r"layers\.0 \(LlamaDecoderLayer\) cannot be routed as feed_forward"),
        (
            "llama",
            named("layers.?.self_attn"),
            r"\(LlamaAttention\) cannot .* returns tuple",
        ),
        ("llama", named("layers.*.down_proj"), r"\(Linear\) cannot .* called with \(2, 6, 24\)"),
        ("llama4", {}, r"shared_expert \(Llama4TextMLP\) cannot .* called with \(12, 16\)"),
        ("bloom", {}, r"h\.0\.mlp \(BloomMLP\) cannot .* called with \(2, 6, 16\) \S+, \(2, 6, 16\)"),
        ("xmod", {}, r"encoder\.layer\.0\.output \(XmodOutput\) cannot be routed as feed_forward"),
        ("xmod", {"parts": ("layer",)}, r"encoder\.layer\.0\.output \(XmodOutput\) cannot"),
        ("mobilebert", {}, r"MobileBertModel has no feed_forward of a known structure"),
        ("albert", ALBERT, r"\(attention\) is called 2 times in one pass of AlbertModel: layers share it"),
        (
            "canine",
            {},
            r"\.intermediate \(CanineIntermediate\) cannot .* called with \(2, 1, 16\)",
        ),
        ("fnet", {}, r"FNetModel with routed parts computes something else, by 0\.\d+ "),
    ],
)
def test_parts_that_are_not_what_they_are_taken_for(family, fields, message):
    refused(tiny(family), fields, message)


@pytest.mark.parametrize("parts", [("feed_forward",), ("layer",)])
def test_pieces_of_a_sequence(parts):
    message = r"encoder\.layer\.0\.intermediate \(feed_forward\) is called 2 times .*chunk_size_feed_forward"
    refused(tiny("bert", chunk_size_feed_forward=3), {"parts": parts}, message)
    sparsify(tiny("bert", chunk_size_feed_forward=3), parts=("attention",))


@pytest.mark.parametrize("is_decoder", [False, True])
def test_a_model_that_must_not_look_ahead_is_known_by_what_it_does(is_decoder):
    """The attention of this one does not say that it is causal."""
    model, router = tiny("rembert", is_decoder=is_decoder), {"kind": "expert_choice", "capacity": 0.5}
    assert looks_ahead(model) != is_decoder
    if is_decoder:
        refused(model, {"router": router}, r"router 'expert_choice' looks ahead, which RemBertModel must not")
    else:
        sparsify(model, router=router)


def test_a_part_that_is_not_called():
    model = tiny("llama")
    model.model.other = torch.nn.Linear(16, 16)
    refused(model, named("other"), r"other \(feed_forward\) is not called when LlamaForCausalLM reads tokens")


def test_a_layer_whose_forward_is_not_that_of_its_class():
    """As hooks of other libraries leave it: the router would never be asked."""
    model = tiny("llama")
    layer = model.model.layers[1]
    layer.forward = layer.forward
    refused(model, {"parts": ("layer",)}, r"model\.layers\.1 asks its router 0 times in one pass")


def test_a_call_that_fails_with_routed_parts():
    model = tiny("llama")

    def needs_all(module, args):
        args[0].view(2, 6, 16)

    model.model.layers[0].mlp.register_forward_pre_hook(needs_all)
    refused(model, {}, r"LlamaForCausalLM fails with routed parts \(RuntimeError: shape .* is invalid")


def test_the_model_and_random_states_are_left_alone():
    model = tiny("llama", attention_dropout=0.5).train()
    model.model.layers[1].eval()
    modes = {module: module.training for module in model.modules()}
    torch.manual_seed(3)
    sparsify(model, router={"kind": "random", "rate": 0.3}, rate=0.3)
    assert torch.equal(torch.rand(3), torch.manual_seed(3) and torch.rand(3))
    assert {module: module.training for module in modes} == modes
    assert all(part.router.rate == 0.3 for part in routed_parts(model).values())


def test_a_model_that_changes_itself_when_it_is_called():
    """Short rows turn block-sparse attention into another class, for good."""
    model = tiny("big_bird")
    attention = type(model.encoder.layer[0].attention.self)
    sparsify(model)
    assert type(model.encoder.layer[0].attention.self) is attention
    model(torch.arange(5)[None])
    assert type(model.encoder.layer[0].attention.self) is not attention


def test_a_model_that_reads_padding_is_refused():
    """By a little, as a convolution does, which is more than what rounding does."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 40}
    torch.manual_seed(0)
    model = ConvBertModel(ConvBertConfig(**sizes, num_attention_heads=4, embedding_size=16)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    refused(model, {}, r"computes something else, by .*padding enters")


def test_weights_that_are_not_there_are_not_tried():
    with torch.device("meta"):
        model = tiny("llama")
    assert len(routed_parts(sparsify(model))) == 2
