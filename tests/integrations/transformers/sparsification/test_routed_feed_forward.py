"""Routed feed-forwards against the dense ones."""

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import sma
from sma.transformers.sparsification import routed_parts, sparsify

from .conftest import scramble, tiny
from .test_routed_attention import outputs_of

FEED_FORWARDS = {"llama": "layers.0.mlp", "gemma2": "layers.0.mlp", "gpt_neox": "layers.0.mlp"}


@pytest.mark.parametrize("family", FEED_FORWARDS)
def test_it_is_computed_for_active_tokens_and_zero_elsewhere(family, batch):
    dense = tiny(family)
    model = scramble(sparsify(copy.deepcopy(dense)))
    with sma.record(model) as recording:
        found = outputs_of(model, FEED_FORWARDS[family], batch)["output"]
    wanted = outputs_of(dense, FEED_FORWARDS[family], batch)["output"]
    active = recording.layers[0].routing.active
    assert active.any()
    assert not active[batch["attention_mask"].bool()].all()
    torch.testing.assert_close(found, torch.where(active, wanted, 0), atol=1e-6, rtol=0)


def test_behind_a_norm_the_residual_stays(batch):
    """In BERT a token that skips is normalised all the same: the feed-forward adds 0 to it."""
    dense = tiny("bert")
    model = scramble(sparsify(copy.deepcopy(dense)))
    with sma.record(model) as recording:
        found = outputs_of(model, "encoder.layer.0", batch)["output"]
    layer = dense.bert.encoder.layer[0]
    attended = outputs_of(dense, "encoder.layer.0.attention", batch)["output"][0]
    with torch.no_grad():
        wanted = torch.where(
            recording.layers[0].routing.active,
            layer.output(layer.intermediate(attended), attended),
            layer.output.LayerNorm(attended),
        )
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], wanted[real], atol=1e-6, rtol=0)


def test_its_cost_is_two_operations_per_weight():
    part = routed_parts(sparsify(tiny("bert")))["bert.encoder.layer.0.intermediate"]
    assert part.sub_modules[0].flops(3) == 3 * 2 * 2 * 16 * 24


def test_the_cost_of_experts_is_that_of_the_chosen_ones():
    model = sparsify(tiny("qwen2_moe", experts_implementation="eager"))
    part = routed_parts(model)["model.layers.0.mlp"].sub_modules[0]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part.module(torch.randn(1, 7, 16))
    assert part.flops(7) == counter.get_total_flops()


def test_decisions_can_be_set_from_outside(batch):
    model = sparsify(tiny("llama"))
    where = torch.zeros(3, 9, 1, dtype=torch.bool)
    where[0, 2] = True
    forced = {"model.layers.0.mlp": sma.Forced(where, ~where)}
    with torch.no_grad(), sma.forcing(model, forced), sma.record(model) as recording:
        model(**batch)
    assert not recording.layers[0].routing.active[0, 2]
    assert recording.layers[0].routing.active[0, 3]
