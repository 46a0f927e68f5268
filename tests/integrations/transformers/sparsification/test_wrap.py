"""Models and parts that are refused, in one line, with the model unchanged."""

import pytest
import torch
import transformers
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    T5Config,
    T5Model,
)

import sma
from sma.modules import LatentConfigurator, RandomRouter
from sma.transformers.sparsification import routed_parts, sparsify

from .conftest import SIZES, tiny


def state(model):
    return {name: (type(m), *dict(m.named_parameters(recurse=False))) for name, m in model.named_modules()}


def refused(model, fields, message):
    """Sparsifying is refused in one line, and the model is what it was."""
    before, settings = state(model), repr(getattr(model, "config", None))
    with pytest.raises(ValueError, match=message) as error:
        sparsify(model, **fields)
    assert "\n" not in str(error.value)
    assert state(model) == before
    assert repr(getattr(model, "config", None)) == settings


def albert():
    return AlbertModel(AlbertConfig(**SIZES, embedding_size=8))


def t5():
    return T5Model(T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=20))


def tied_maps():
    model = tiny("llama")
    first, second = model.model.layers
    second.mlp.up_proj.weight = first.mlp.up_proj.weight
    return model


def shared_layers():
    model = tiny("llama")
    model.model.layers[1] = model.model.layers[0]
    return model


def quantised():
    model = tiny("llama")
    layer = model.model.layers[0].mlp.up_proj
    layer.weight = nn.Parameter(torch.zeros(24, 16, dtype=torch.int8), requires_grad=False)
    return model


def flash():
    model = tiny("llama")
    model.config._attn_implementation = "flex_attention"
    return model


def gemma_with_shared_keys():
    config = Gemma4TextConfig(**SIZES, head_dim=8, num_kv_shared_layers=1, layer_types=["full_attention"] * 2)
    return Gemma4ForCausalLM(config)


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        ("FalconForCausalLM", "h.0.self_attention"),
        ("BloomForCausalLM", "h.0.self_attention"),
        ("GPTNeoXJapaneseForCausalLM", "layers.0.attention"),
        ("BigBirdForMaskedLM", "encoder.layer.0.attention"),
        ("MegatronBertForMaskedLM", "encoder.layer.0.attention"),
    ],
)
def test_attention_of_its_own_is_refused(name, attention):
    model_class = getattr(transformers, name)
    model = model_class(model_class.config_class(**SIZES, bos_token_id=1, eos_token_id=1, sep_token_id=1))
    before = state(model)
    wanted = (
        rf"{attention} \(\w+\) does not call transformers' attention interface.*parts=\('feed_forward',\)"
    )
    with pytest.raises(ValueError, match=wanted):
        sparsify(model, parts=("attention",))
    assert state(model) == before


@pytest.mark.parametrize(
    ("build", "fields", "message"),
    [
        (lambda: nn.Linear(2, 2), {}, "type Linear, not a model of transformers"),
        (albert, {}, r"AlbertModel has no feed_forward of a known structure .*gate_proj.*; name its parts"),
        (t5, {}, "T5Model attends to another sequence"),
        (
            lambda: tiny("llama"),
            {"only": ("layers.7.*",)},
            r"only='layers\.7\.\*' matches no feed_forward; there",
        ),
        (lambda: sparsify(tiny("llama")), {}, "has routers already"),
        (
            lambda: tiny("bert"),
            {"router": {"kind": "expert_choice", "capacity": 0.25}},
            r"rate=0\.5, but router 'expert_choice' activates 0\.25 of the tokens",
        ),
        (
            lambda: tiny("llama"),
            {"router": {"kind": "expert_choice", "capacity": 0.5}},
            "looks ahead, which LlamaForCausalLM must not",
        ),
        (flash, {"parts": ("attention",)}, "'flex_attention' computes all queries of a batch at once"),
        (
            gemma_with_shared_keys,
            {"parts": ("attention",), "skipped": "unseen"},
            r"the last 1 layers of Gemma4ForCausalLM use keys of earlier layers.*set skipped='seen'",
        ),
        (tied_maps, {}, r"layers\.0\.mlp\.up_proj\.weight is tied to another weight"),
        (shared_layers, {}, r"layers\.0\.mlp is used in several places"),
        (quantised, {}, r"weights are quantised \(model\.layers\.0\.mlp\.up_proj\.weight\)"),
        (
            lambda: tiny("llama"),
            {"named": ({"part": "feed_forward", "pattern": "blocks.*"},)},
            r"named\.pattern='blocks\.\*' matches no module",
        ),
        (
            lambda: tiny("llama"),
            {
                "parts": ("attention",),
                "named": (
                    {
                        "part": "attention",
                        "pattern": "layers.*.mlp",
                        "query": "q",
                        "output": "o",
                        "keys": ("k",),
                    },
                ),
            },
            r"layers\.0\.mlp has no 'q'; name maps of LlamaMLP: gate_proj",
        ),
        (
            lambda: tiny("llama"),
            {"parts": ("attention",), "named": ({"part": "feed_forward", "pattern": "layers.*.mlp"},)},
            "parts is attention, but named has feed_forward; name parts of each kind",
        ),
    ],
)
def test_what_cannot_be_routed_is_left_as_it_was(build, fields, message):
    refused(build(), fields, message)


def test_parts_can_be_named(batch):
    torch.manual_seed(0)
    found = sparsify(tiny("llama"), parts=("feed_forward", "attention"))
    maps = {"query": "q_proj", "output": "o_proj", "keys": ("k_proj", "v_proj")}
    named = sparsify(
        tiny("llama"),
        parts=("feed_forward", "attention"),
        named=(
            {"part": "feed_forward", "pattern": "layers.*.mlp"},
            {"part": "attention", "pattern": "layers.*.self_attn", **maps},
        ),
    )
    assert list(routed_parts(named)) == list(routed_parts(found))
    with torch.no_grad():
        assert torch.equal(named(**batch).logits, found(**batch).logits)


def test_a_router_that_draws_decides_otherwise_in_each_part():
    model = sparsify(
        tiny("llama"), router={"kind": "random", "rate": 0.5}, parts=("feed_forward", "attention")
    )
    with torch.no_grad(), sma.record(model) as recording:
        model(torch.randint(2, 40, (1, 64)))
    first, *others = (call.routing.active for call in recording.layers)
    assert all(0.2 < float((first == other).float().mean()) < 0.8 for other in others)


@pytest.mark.parametrize(
    ("router", "kind"),
    [("latent_configurator", LatentConfigurator), ({"kind": "random", "rate": 0.5}, RandomRouter)],
)
def test_the_router_is_the_spec_s(router, kind):
    part = routed_parts(sparsify(tiny("llama"), router=router))["model.layers.0.mlp"]
    assert any(isinstance(module, kind) for module in part.router.modules())


def test_a_router_that_remembers_takes_no_cache(batch):
    model = sparsify(tiny("llama"), router={"kind": "random", "rate": 0.3}, rate=0.3)
    model.generate(**batch, max_new_tokens=3, use_cache=False)
    with pytest.raises(ValueError, match=r"RandomRouter decides by earlier tokens.*use_cache=False"):
        model.generate(**batch, max_new_tokens=3)
