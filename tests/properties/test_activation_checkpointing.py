"""Activation checkpointing of whole models: the same step in less memory."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.data import Batch, Data

import sma
from sma.architectures import (
    Blocks,
    SequenceModelSpec,
    graph_network,
    load_model,
    mixtral_like,
    mixture_of_depths,
    moe_seqboat,
    save_model,
    seqboat,
    switch,
)
from sma.architectures.models.base import Model
from sma.recomputation import recompute

SIZES = {"vocab_size": 11, "d_model": 8, "n_layers": 2}
UNIT = {"d_qk": 4, "d_state": 2, "window": 3, "dropout": 0.2}


def budgeted():
    """SeqBoat with noisy decisions and a loss."""
    values = seqboat(**SIZES, **UNIT).model_dump()
    budget = {"kind": "activation_budget", "router": "gumbel", "rate": 0.3, "coefficient": 1.0}
    values["blocks"][0]["branches"][1]["router"] = budget
    return SequenceModelSpec.model_validate(values)


SPECS = {
    "seqboat": lambda: seqboat(**SIZES, **UNIT),
    "batch norm": lambda: seqboat(**SIZES, **UNIT, norm="batch_norm"),
    "budget": budgeted,
    "mixture of depths": lambda: mixture_of_depths(**SIZES, n_heads=2, capacity=0.5),
    "switch": lambda: switch(**SIZES, n_heads=2, n_experts=3),
    "mixtral": lambda: mixtral_like(**SIZES, n_heads=2, n_experts=4, d_hidden=8),
    "moe_seqboat": lambda: moe_seqboat(**SIZES, n_experts=4, d_qk=4, window=3),
}


def build(name):
    torch.manual_seed(0)
    return SPECS[name]().build()


def step(model, inputs, *mask):
    """All that a training step gives and changes."""
    torch.manual_seed(1)
    with sma.record() as recording:
        y = model(inputs, *mask)
    loss = y.square().mean() + sum(recording.losses.values())
    loss.backward()
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    calls = {layer.name: layer.routing.active for layer in recording.layers}
    return {"y": y, "loss": loss, **recording.losses, **calls, **gradients, **dict(model.named_buffers())}


def check(model, *inputs):
    other = copy.deepcopy(model)
    other.activation_checkpointing = True
    expected, ours = step(model, *inputs), step(other, *inputs)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize("name", SPECS)
def test_a_step_is_the_same_bit_for_bit(name):
    tokens = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
    check(build(name), tokens, torch.arange(12) < torch.tensor([[12], [5], [0]]))


def test_a_step_on_graphs_is_the_same_bit_for_bit():
    torch.manual_seed(0)
    graphs = [Data(x=torch.randn(n, 3), edge_index=torch.randint(n, (2, 3 * n))) for n in (5, 9)]
    model = graph_network(d_model=8, n_layers=2, d_input=3, n_classes=5).build()
    check(model, Batch.from_data_list(graphs))


@pytest.fixture
def recomputed(monkeypatch):
    """The modules that are recomputed, in the order of their calls."""
    calls = []

    def spy(call, module, *args):
        calls.append(module)
        return recompute(call, module, *args)

    monkeypatch.setattr("sma.architectures.blocks.stack.recompute", spy)
    return calls


def test_the_blocks_of_a_stack_are_recomputed_one_by_one(recomputed):
    model = build("moe_seqboat")
    model.activation_checkpointing = True
    model(torch.zeros(1, 4, dtype=torch.long))
    assert recomputed == [block for stack in model.blocks for block in stack.blocks]


def test_only_training_recomputes(recomputed):
    model, tokens = build("seqboat"), torch.zeros(1, 4, dtype=torch.long)
    model(tokens)
    model.activation_checkpointing = True
    model.eval()(tokens)
    model.train().activation_checkpointing = False
    model(tokens)
    assert recomputed == []


def kept(model, tokens):
    """Bytes that the forward pass keeps for the backward pass, parameters not counted."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages = {}

    def pack(x):
        if x.untyped_storage().data_ptr() not in own:
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        y = model.encode(tokens)
    del y
    return sum(storages.values())


def test_memory_shrinks():
    torch.manual_seed(0)
    model = seqboat(vocab_size=11, d_model=16, n_layers=8, d_qk=8, d_state=4, window=5).build()
    tokens = torch.randint(11, (2, 64))
    before = kept(model, tokens)
    model.activation_checkpointing = True
    assert kept(model, tokens) < before / 10


def test_it_is_not_saved(tmp_path):
    model = build("seqboat")
    model.activation_checkpointing = True
    save_model(model, tmp_path)
    assert model.activation_checkpointing
    assert not load_model(tmp_path).activation_checkpointing


def test_a_model_without_blocks_says_so():
    class Plain(Model):
        pass

    model = Plain()
    model.activation_checkpointing = False
    with pytest.raises(ValueError, match=r"Plain has no sma\.architectures\.Blocks"):
        model.activation_checkpointing = True


def test_blocks_of_a_plug_in_need_no_more_than_the_contract():
    blocks = Blocks([sma.PerElement(nn.Linear(3, 3)) for _ in range(2)])
    blocks.activation_checkpointing = True
    x = torch.randn(2, 4, 3)
    torch.testing.assert_close(blocks(x), F.linear(blocks[0](x), *blocks[1].module.parameters()))
