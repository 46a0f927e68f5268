"""The attention functions of sparsified models: chosen, changed, and never passed by."""

import pytest
import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import Fp8QuantizedLayer

import sma
from sma.transformers.sparsification import sparsify

from .conftest import scramble, tiny

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
