"""Operations against torch's counter, and against a loop over tokens."""

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

import sma
from sma.training.sparsification.token_operations import (
    dense_operations,
    is_causal,
    pairs,
    saved_operations,
)
from sma.transformers import routed_parts

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 30,
    "attn_implementation": "eager",
}


def llama():
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2)).eval()


def bert():
    return BertModel(BertConfig(**SIZES), add_pooling_layer=False).eval()


def counted(model, ids):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    return counter.get_total_flops()


def test_dense_operations_are_those_that_torch_counts():
    """Of a bidirectional model; torch counts all pairs of a causal one."""
    ids = torch.randint(2, 30, (3, 7))
    mask = torch.ones(3, 7, dtype=torch.bool)
    assert dense_operations(bert(), mask) == counted(bert(), ids)
    unseen = 2 * 3 * (7 * 7 - 7 * 8 // 2) * 4 * 16
    rotary = 2 * 2 * 7  # cosines and sines
    assert counted(llama(), ids) - unseen - dense_operations(llama(), mask) == pytest.approx(
        0, abs=8 * rotary
    )


@pytest.mark.parametrize("build", [llama, bert])
@pytest.mark.parametrize("skipped", ["seen", "unseen"])
@pytest.mark.parametrize("parts", [("feed_forward", "attention"), ("layer",)])
def test_what_is_saved(build, skipped, parts):
    """When nothing is computed, it is what the parts cost; keys and values that others see stay."""
    dense = build()
    model = sma.sparsify(copy.deepcopy(dense), parts=parts, skipped=skipped)
    ids, mask = torch.randint(2, 30, (2, 6)), torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    if build is llama:
        ids, mask = ids.flip(1), mask.flip(1)
    with torch.no_grad(), sma.record(model) as recording:
        model(ids, attention_mask=mask)
    router = sum(2 * 10 * 16 for _ in routed_parts(model))
    causal = is_causal(model)
    assert saved_operations(recording.layers, causal=causal) == -router  # everything is active
    for part in routed_parts(model).values():
        part.router.router.router.projection.bias.data.fill_(-1.0)
    with torch.no_grad(), sma.record(model) as recording:
        model(ids, attention_mask=mask)
    saved = saved_operations(recording.layers, causal=causal) + router
    kept = 0
    if skipped == "seen":
        width = 8 if build is llama else 16
        kept = 10 * 2 * (2 * 2 * 16 * width)  # tokens, layers, keys and values
    head = 10 * 2 * 16 * 30 if build is llama else 0
    assert saved == dense_operations(dense, mask.bool()) - kept - head


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("sees_skipped", [True, False])
def test_pairs(causal, sees_skipped):
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(3, 8, generator=generator) > 0.3
    active = real & (torch.rand(3, 8, generator=generator) > 0.5)
    seen = real if sees_skipped else active
    wanted = sum(
        bool(active[b, t] and seen[b, s]) and (s <= t or not causal)
        for b in range(3)
        for t in range(8)
        for s in range(8)
    )
    assert pairs(active, real, causal=causal, sees_skipped=sees_skipped) == wanted
