"""The attention functions of sparsified models: chosen, changed, and never passed by."""

import copy

import pytest
import torch
from torch import nn
from transformers import Cache, DynamicCache, T5Config, T5EncoderModel
from transformers.cache_utils import Fp8QuantizedLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import sma
from sma.transformers.sparsification import sparsify
from sma.transformers.sparsification.attention_functions import attending

from .conftest import scramble, tiny
from .test_routed_attention import outputs_of

SKIPPED = ("seen", "unseen")


@pytest.mark.parametrize("skipped", SKIPPED)
def test_another_implementation_gives_the_same(skipped, batch):
    model = scramble(sparsify(tiny("llama"), parts=("attention",), skipped=skipped))
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        wanted = model(**batch).logits[real]
        for name in ("eager", "sdpa", {"": "eager"}):
            model.set_attn_implementation(name)
            torch.testing.assert_close(model(**batch).logits[real], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("bias", [0.0, -1e4])
def test_the_weights_of_attention_are_those_of_what_attends(bias, batch):
    model = scramble(sparsify(tiny("llama", attn_implementation="eager"), parts=("attention",)), bias)
    with torch.no_grad(), sma.record(model) as recording:
        weights = model(**batch, output_attentions=True).attentions
    for call, found in zip(recording.layers, weights, strict=True):
        assert found.shape == (3, 4, 9, 9)
        attends = call.routing.active[..., 0].float()[:, None].expand(3, 4, 9)
        torch.testing.assert_close(found.sum(-1), attends)
    if not bias:
        dense = tiny("llama", attn_implementation="eager")
        with torch.no_grad():
            wanted = dense(**batch, output_attentions=True).attentions[0]
        chosen = recording.layers[0].routing.active[..., 0]
        torch.testing.assert_close(weights[0].transpose(1, 2)[chosen], wanted.transpose(1, 2)[chosen])


def test_one_that_cannot_skip_is_refused(batch):
    model = sparsify(tiny("llama"), parts=("layer",))
    for part in (model, model.model):
        with pytest.raises(ValueError, match=r"attn_implementation='flex_attention' computes all queries"):
            part.set_attn_implementation("flex_attention")
    assert model.config._attn_implementation == "sma_sdpa"
    model.config._attn_implementation = "sdpa"
    with pytest.raises(ValueError, match=r"LlamaAttention did not call.*names 'sdpa'.*set_attn_impl"):
        model(**batch)


def test_feed_forwards_leave_the_choice():
    model = sparsify(tiny("llama"))
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("skipped", SKIPPED)
def test_without_a_mask_causal_attention_is_causal(skipped):
    """Where `sdpa` is given a flag in place of a mask."""
    model = scramble(sparsify(tiny("llama"), parts=("attention",), skipped=skipped))
    attention = model.model.layers[0].self_attn
    hidden = torch.randn(2, 8, 16)
    angles = model.model.rotary_emb(hidden, torch.arange(8)[None])
    mask = torch.ones(8, 8, dtype=torch.bool).tril()[None, None]
    with torch.no_grad(), sma.record(model) as recording:
        found, wanted = (
            attention(hidden, position_embeddings=angles, attention_mask=each)[0] for each in (None, mask)
        )
    assert not recording.layers[0].routing.active.all()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_a_static_cache_holds_what_is_unseen(family, batch):
    model = scramble(sparsify(tiny(family), parts=("attention",), skipped="unseen"))
    options = {"max_new_tokens": 5, "do_sample": False, "disable_compile": True}
    wanted = model.generate(**batch, **options, use_cache=False)
    assert torch.equal(model.generate(**batch, **options, cache_implementation="static"), wanted)


def test_a_cache_is_given_back_as_it_was(batch):
    model = scramble(sparsify(tiny("llama"), parts=("attention",), skipped="unseen"))
    cache = DynamicCache()
    with torch.no_grad():
        model(**batch, past_key_values=cache)
    assert "update" not in vars(cache)
    assert cache.layers[0].keys.isfinite().all()
    assert cache.layers[0].values.isnan().any()


def test_a_cache_that_quantises_is_refused(batch):
    model = sparsify(tiny("llama"), parts=("attention",), skipped="unseen")
    cache = Cache(layer_class_to_replicate=Fp8QuantizedLayer)
    with pytest.raises(ValueError, match=r"Cache quantises values.*skipped='seen'"):
        model(**batch, past_key_values=cache)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_bias_of_positions_is_that_of_the_queries(implementation, batch):
    dense = T5EncoderModel(
        T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4, vocab_size=40)
    ).eval()
    dense.set_attn_implementation(implementation)
    name = "encoder.block.0.layer.0.SelfAttention"
    maps = {"pattern": name, "query": "q", "output": "o", "keys": ("k", "v")}
    named = ({"part": "attention", **maps},)
    model = scramble(sparsify(copy.deepcopy(dense), parts=("attention",), named=named), bias=1.0)
    with sma.record(model) as recording:
        found = outputs_of(model, name, batch)["output"][0]
    active = recording.layers[0].routing.active
    assert 5 < active.sum() < batch["attention_mask"].sum()
    wanted = outputs_of(dense, name, batch)["output"][0]
    torch.testing.assert_close(found, torch.where(active, wanted, 0), atol=1e-6, rtol=0)


def test_attention_that_divides_rows_is_refused():
    elements = sma.PackedCompaction().compress(torch.randn(1, 8, 4), torch.ones(1, 8, dtype=torch.bool))
    halves = torch.randn(2, 1, 4, 4)
    attend = ALL_ATTENTION_FUNCTIONS["sma_sdpa"]
    with (
        pytest.raises(ValueError, match=r"in 2 rows of 4 tokens, where the model has 1 of 8.*feed_forward"),
        attending(nn.Identity(), elements, hides=False),
    ):
        attend(nn.Identity(), halves, halves, halves, None)
