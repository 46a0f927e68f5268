"""A routed attention against the dense one: some queries of all, or all of some tokens."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import DynamicCache

import sma
from sma.transformers.sparsification import routed_parts, sparsify

from .conftest import ENCODERS, scramble, tiny

ATTENTIONS = {
    "llama": "layers.0.self_attn",
    "qwen3": "layers.0.self_attn",
    "gpt_neox": "layers.0.attention",
    "persimmon": "layers.0.self_attn",
    "doge": "layers.0.self_attn",
    "bert": "encoder.layer.0.attention",
    "layoutlm": "encoder.layer.0.attention",
}


def outputs_of(model, name, batch):
    """What a part of a model's body is given and returns, in a call of the model."""
    seen = {}

    def hook(module, args, kwargs, output):
        hidden = args[0] if args else kwargs.pop("hidden_states")
        seen.update(hidden=hidden, args=args[1:], kwargs=kwargs, output=output)

    handle = model.base_model.get_submodule(name).register_forward_hook(hook, with_kwargs=True)
    with torch.no_grad():
        model(**batch, use_cache=False)
    handle.remove()
    return seen


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox"])
def test_queries_are_skipped_and_keys_are_seen(family, implementation, batch):
    dense = tiny(family)
    dense.set_attn_implementation(implementation)
    model = scramble(sparsify(copy.deepcopy(dense), parts=("attention",)))
    with sma.record(model) as recording:
        found = outputs_of(model, ATTENTIONS[family], batch)["output"][0]
    wanted = outputs_of(dense, ATTENTIONS[family], batch)["output"][0]
    active = recording.layers[0].routing.active
    assert active.any()
    assert not active[batch["attention_mask"].bool()].all()
    torch.testing.assert_close(found, torch.where(active, wanted, 0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "persimmon", "bert", "layoutlm"])
def test_what_is_unseen_is_as_if_it_were_not_there(family, implementation, padded, batch):
    """An attention over the active tokens of each row alone, at their positions."""
    dense = tiny(family)
    dense.set_attn_implementation(implementation)
    model = scramble(sparsify(dense, parts=("attention",), skipped="unseen"), bias=1.0)
    if not padded:
        del batch["attention_mask"]
    with sma.record(model) as recording:
        call = outputs_of(model, ATTENTIONS[family], batch)
    attention = model.base_model.get_submodule(ATTENTIONS[family]).part.module
    active = recording.layers[0].routing.active[..., 0]
    assert active.any(1).all()
    assert not active[batch.get("attention_mask", torch.ones_like(active)).bool()].all()
    for row, output in enumerate(first(call["output"])):
        index = active[row].nonzero().squeeze(1)
        angles = call["kwargs"].get("position_embeddings", ())
        more = {"position_embeddings": tuple(each[-1:, index] for each in angles)} if angles else {}
        with torch.no_grad():
            hidden = call["hidden"][row : row + 1, index]
            alone = attention(hidden, attention_mask=in_order(family, len(index)), **more)
        torch.testing.assert_close(output[index], first(alone)[0], atol=1e-6, rtol=0)


def first(output):
    """What an attention gives, with weights or without."""
    return output[0] if isinstance(output, tuple) else output


def in_order(family, length):
    """A mask by which the tokens of a causal model see what is before them, and those of an encoder all."""
    hidden = 0.0 if family in ENCODERS else torch.finfo(torch.float32).min
    return torch.full((length, length), hidden).triu(1)[None, None]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("family", ["llama", "persimmon", "doge"])
def test_gradients_are_those_of_what_is_seen(family, cached):
    """Also of norms of keys, and of masks made of values, where tokens that are not there go as well."""
    model = scramble(sparsify(tiny(family), parts=("attention",), skipped="unseen"))
    routed = model.base_model.get_submodule(ATTENTIONS[family])
    hidden = torch.randn(1, 8, 16)
    angles = model.model.rotary_emb(hidden, torch.arange(8)[None])
    more = {"past_key_values": DynamicCache()} if cached else {}
    with sma.record(model) as recording:
        mask = in_order(family, 8)
        output = routed(hidden, position_embeddings=angles, attention_mask=mask, **more)[0]
    index = recording.layers[0].routing.active[0, :, 0].nonzero().squeeze(1)
    assert 1 < len(index) < 8
    parameters = list(routed.part.module.parameters())
    found = torch.autograd.grad(output.square().sum(), parameters)
    angles, mask = tuple(each[:, index] for each in angles), in_order(family, len(index))
    alone = routed.part.module(hidden[:, index], position_embeddings=angles, attention_mask=mask)[0]
    wanted = torch.autograd.grad(alone.square().sum(), parameters)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("family", "skipped"), [("llama", "seen"), ("llama", "unseen"), ("bert", "seen")])
def test_linear_maps_are_given_active_tokens_only(family, skipped, batch):
    model = scramble(sparsify(tiny(family), parts=("attention",), skipped=skipped))
    rows = {}

    def count(name, args):
        rows.setdefault(name.rpartition("module.")[2], args[0].shape[:-1].numel())

    for name, module in model.base_model.get_submodule(ATTENTIONS[family]).named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda module, args, y, name=name: count(name, args))
    with torch.no_grad(), sma.record(model) as recording:
        model(**batch)
    n_active, n_real = int(recording.layers[0].n_elements), int(batch["attention_mask"].sum())
    assert n_active < n_real
    query, key, value, output = (
        ("q_proj", "k_proj", "v_proj", "o_proj")
        if family == "llama"
        else ("self.query", "self.key", "self.value", "output.dense")
    )
    kept = n_real if skipped == "seen" else n_active
    assert {name: rows[name] for name in (query, key, value, output)} == {
        query: n_active,
        key: kept,
        value: kept,
        output: n_active,
    }


def test_threads_share_a_model(batch):
    model = scramble(sparsify(tiny("llama"), parts=("attention",)), in_full=False)
    calls = [{name: value[:n] for name, value in batch.items()} for n in (1, 2, 3)]

    def logits(call):
        with torch.no_grad():
            return model(**call).logits

    wanted = [logits(call) for call in calls]
    with ThreadPoolExecutor(3) as threads:
        for found, one in zip(threads.map(logits, 20 * calls), 20 * wanted, strict=True):
            assert torch.equal(found, one)


def test_the_cost_is_that_of_the_maps_and_of_pairs(batch):
    model = sparsify(tiny("llama"), parts=("attention",))
    part = routed_parts(model)["model.layers.0.self_attn"].part
    width, n = 16, 5
    assert part.flops(n) == 2 * n * 2 * width * width + 4 * n * n * width
    unseen = routed_parts(sparsify(tiny("llama"), parts=("attention",), skipped="unseen"))
    keys = 2 * n * 2 * width * (width // 2)
    assert unseen["model.layers.0.self_attn"].part.flops(n) == part.flops(n) + keys


def test_an_inactive_token_gets_no_gradient(batch):
    model = scramble(sparsify(tiny("llama"), parts=("attention",), skipped="unseen"))
    attention = routed_parts(model)["model.layers.0.self_attn"]
    hidden = torch.randn(1, 6, 16, requires_grad=True)
    angles = model.model.rotary_emb(hidden, torch.arange(6)[None])
    for parameter in attention.router.parameters():
        parameter.requires_grad_(False)
    mask = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    with sma.record(model) as recording:
        output = attention(hidden, position_embeddings=angles, attention_mask=mask)[0]
    output.square().sum().backward()
    active = recording.layers[0].routing.active[0, :, 0]
    assert 0 < active.sum() < 6
    assert (output[0, ~active] == 0).all()
    assert torch.equal((hidden.grad[0] != 0).any(-1), active)
