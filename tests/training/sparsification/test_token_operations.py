"""Operations against torch's counter, and against a loop over tokens."""

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

import sma
from sma.training.sparsification.token_operations import (
    dense_operations,
    pairs,
    parts_share,
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
    assert saved_operations(recording.layers, dense) == -router  # everything is active
    for part in routed_parts(model).values():
        part.router.router.router.projection.bias.data.fill_(-1.0)
    with torch.no_grad(), sma.record(model) as recording:
        model(ids, attention_mask=mask)
    saved = saved_operations(recording.layers, dense) + router
    kept = 0
    if skipped == "seen":
        width = 8 if build is llama else 16
        kept = 10 * 2 * (2 * 2 * 16 * width)  # tokens, layers, keys and values
    head = 10 * 2 * 16 * 30 if build is llama else 0
    assert saved == dense_operations(dense, mask.bool()) - kept - head


def test_of_experts_those_count_that_a_token_computes():
    """And attention alone is what its routing can save."""
    sizes = {**SIZES, "num_key_value_heads": 2, "num_local_experts": 5, "num_experts_per_tok": 2}
    dense = MixtralForCausalLM(MixtralConfig(**sizes)).eval()
    mask = torch.ones(1, 4, dtype=torch.bool)
    attention = 2 * 16 * (16 + 8 + 8 + 16)
    experts = 2 * 16 * 5 + 2 * 2 * 3 * 16 * 24
    head, products = 2 * 16 * 30, 2 * 10 * 4 * 16
    assert dense_operations(dense, mask) == 4 * (2 * (attention + experts) + head) + products
    model = sma.sparsify(copy.deepcopy(dense), parts=("attention",), skipped="unseen")
    for part in routed_parts(model).values():
        part.router.router.router.projection.bias.data.fill_(-1.0)
    with torch.no_grad(), sma.record(model) as recording:
        model(torch.randint(2, 30, (1, 4)))
    router = 2 * 2 * 4 * 16
    assert saved_operations(recording.layers, dense) == 4 * 2 * attention + products - router


@pytest.mark.parametrize("window", [3, None])
def test_a_sliding_window(window):
    sizes = {**SIZES, "num_key_value_heads": 2, "sliding_window": window}
    dense = MistralForCausalLM(MistralConfig(**sizes)).eval()
    mask = torch.tensor([[True] * 6, [False] * 2 + [True] * 4])
    places = range(6)
    n_pairs = sum(
        bool(mask[b, t] and mask[b, s]) and s <= t and (window is None or t - s < window)
        for b in range(2)
        for t in places
        for s in places
    )
    per_token = 2 * (2 * 16 * (16 + 8 + 8 + 16) + 2 * 3 * 16 * 24) + 2 * 16 * 30
    assert dense_operations(dense, mask) == 10 * per_token + 2 * n_pairs * 4 * 16


def test_a_model_of_another_structure_whose_parts_are_named():
    config = GPT2Config(n_embd=16, n_head=4, n_layer=2, vocab_size=30, bos_token_id=0, eos_token_id=0)
    dense = GPT2LMHeadModel(config).eval()
    mask = torch.ones(1, 3, dtype=torch.bool)
    maps = 2 * 16 * (3 * 16 + 16 + 4 * 16 + 4 * 16)
    assert dense_operations(dense, mask) == 3 * (2 * maps + 2 * 16 * 30) + 2 * 6 * 4 * 16
    named = ({"part": "feed_forward", "pattern": "h.*.mlp"},)
    model = sma.sparsify(copy.deepcopy(dense), parts=("feed_forward",), named=named)
    for part in routed_parts(model).values():
        part.router.router.router.projection.bias.data.fill_(-1.0)
    with torch.no_grad(), sma.record(model) as recording:
        model(torch.randint(2, 30, (1, 3)))
    assert saved_operations(recording.layers, dense) == 3 * 2 * (2 * 16 * 8 * 16 - 2 * 16)


@pytest.mark.parametrize("parts", [("feed_forward", "attention"), ("layer",)])
def test_the_share_of_the_parts_is_that_of_their_budget(parts):
    """The mean of the rates by the parts' operations per token, whatever the length of the rows."""
    model = sma.sparsify(llama(), parts=parts)
    routers = [part.router for part in routed_parts(model).values()]
    for router in routers:
        router.router.router.projection.weight.data.normal_(std=2.0)
        router.router.router.projection.bias.data.zero_()
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, 6:] = 0
    torch.manual_seed(1)
    with torch.no_grad(), sma.record(model) as recording:
        model(torch.randint(2, 30, (2, 9)), attention_mask=mask)
    costs = routers[0].parts.costs
    rates = [rate for (rate,) in recording.activation_rates.values()]
    assert 0.1 < min(rates) < max(rates) < 0.9
    computed, whole = parts_share(recording.layers)
    assert whole == 15 * sum(costs)
    assert computed / whole == pytest.approx(
        sum(cost * rate for cost, rate in zip(costs, rates, strict=True)) / sum(costs)
    )
    assert parts_share([]) == (0, 0)


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
