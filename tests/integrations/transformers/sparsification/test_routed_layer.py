"""Whole layers behind a router against the dense layers."""

import copy

import pytest
import torch
from accelerate.utils.dataclasses import get_module_class_from_name

import sma
from sma.transformers.sparsification import routed_parts, sparsify

from .conftest import scramble, tiny
from .test_routed_attention import outputs_of

LAYERS = {
    "llama": "layers.0",
    "gpt_neox": "layers.0",
    "gpt_neox_parallel": "layers.0",
    "bert": "encoder.layer.0",
}


@pytest.mark.parametrize("family", LAYERS)
def test_a_token_passes_the_layer_or_leaves_as_it_entered(family, batch):
    dense = tiny(family)
    model = scramble(sparsify(copy.deepcopy(dense), parts=("layer",)))
    with sma.record(model) as recording:
        found = outputs_of(model, LAYERS[family], batch)
    wanted = outputs_of(dense, LAYERS[family], batch)["output"]
    active = recording.layers[0].routing.active
    assert active.any()
    assert not active[batch["attention_mask"].bool()].all()
    torch.testing.assert_close(
        found["output"], torch.where(active, wanted, found["hidden"]), atol=1e-6, rtol=0
    )


def test_it_is_a_layer_of_its_model():
    dense = tiny("llama")
    layer = type(dense.model.layers[0])
    model = sparsify(dense, parts=("layer",), only=("layers.1",))
    assert list(routed_parts(model)) == ["model.layers.1"]
    assert isinstance(model.model.layers[1], layer)
    assert type(model.model.layers[0]) is layer


def test_what_splits_a_model_finds_its_layers():
    model = sparsify(tiny("llama"), parts=("layer",))
    assert type(model.model.layers[0]).__name__ in model._no_split_modules
    assert get_module_class_from_name(model, "LlamaDecoderLayer") is type(model.model.layers[0])


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_the_feed_forward_is_given_active_tokens_only(family, batch):
    model = scramble(sparsify(tiny(family), parts=("layer",)))
    name = "layers.0.mlp.up_proj" if family == "llama" else "encoder.layer.0.output.dense"
    rows = []
    model.base_model.get_submodule(name).register_forward_hook(
        lambda m, args, y: rows.append(args[0].shape[:-1])
    )
    with torch.no_grad(), sma.record(model) as recording:
        model(**batch)
    assert rows == [(1, int(recording.layers[0].n_elements))]


def test_the_cost_is_that_of_both_parts():
    layer = routed_parts(sparsify(tiny("llama"), parts=("layer",)))["model.layers.0"]
    both = routed_parts(sparsify(tiny("llama"), parts=("feed_forward", "attention")))
    parts = [both[f"model.layers.0.{name}"].sub_modules[0] for name in ("self_attn", "mlp")]
    assert layer.sub_modules[0].flops(7) == sum(part.flops(7) for part in parts)
