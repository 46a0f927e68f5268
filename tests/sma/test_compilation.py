"""A call that returns its recording: the same numbers compiled and not, in one graph where torch can."""

import pytest
import torch
from torch import nn

import sma
from sma import SMA, CapacityCompaction
from sma.architectures import mixture_of_depths, moe_seqboat, parse_spec, seqboat, switch

BUDGET = {"kind": "activation_budget", "rate": 0.3, "coefficient": 1.0}
SIZES = {"vocab_size": 11, "d_model": 8, "n_layers": 1}


@pytest.fixture(autouse=True)
def forget_compiled_code():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def budgeted(n_layers=2, **options):
    values = seqboat(**{**SIZES, "n_layers": n_layers}, d_qk=4, d_state=2, window=5).model_dump(mode="json")
    for block in values["blocks"]:
        block["branches"][1]["router"] = {**BUDGET, "router": block["branches"][1]["router"]}
        block["branches"][1] |= options
    torch.manual_seed(0)
    return parse_spec(values).build()


def step(model, call, tokens):
    """The loss, the auxiliary ones, gradients and counts of a training step."""
    model.zero_grad()
    scores, recording = call(tokens)
    loss = scores.square().mean() + sum(recording.losses.values())
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    counts = [(layer.name, layer.n_elements.tolist()) for layer in recording.layers]
    return (loss, recording.losses, gradients), counts


def check_the_same(model, *, at_most=1, **options):
    """Compiled and not, for several numbers of active elements; the graph breaks are counted."""
    call, numbers = sma.recorded(model, compiled=True, **{"backend": "aot_eager", **options}), set()
    for seed in range(3):
        tokens = torch.randint(11, (3, 30), generator=torch.Generator().manual_seed(seed))
        ours, counts = step(model, call, tokens)
        theirs, expected = step(model, sma.recorded(model), tokens)
        assert counts == expected
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        assert all(loss.requires_grad for loss in ours[1].values())
        numbers.add(str(counts))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= at_most
    assert not torch._dynamo.utils.counters["graph_break"]
    return numbers


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step_with_losses_is_one_graph(checkpointing):
    model = budgeted(n_layers=1)
    model.activation_checkpointing = checkpointing
    assert len(check_the_same(model, fullgraph=True)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step_with_inductor(checkpointing):
    model = budgeted(n_layers=1)
    model.activation_checkpointing = checkpointing
    check_the_same(model, fullgraph=True, backend="inductor")


@pytest.mark.slow
@pytest.mark.parametrize("preset", [switch, moe_seqboat])
def test_other_models_with_losses_are_one_graph(preset):
    torch.manual_seed(0)
    check_the_same(preset(**{**SIZES, "n_layers": 2}).build(), fullgraph=True)


def test_a_fixed_capacity_is_one_graph():
    check_the_same(budgeted(n_layers=1, compaction={"kind": "capacity", "capacity": 0.8}), fullgraph=True)


def test_mixture_of_depths_is_one_graph_with_a_capacity():
    torch.manual_seed(0)
    model = mixture_of_depths(**{**SIZES, "n_layers": 2}, n_heads=2, capacity=0.3).build()
    (routed,) = (layer for layer in model.modules() if isinstance(layer, SMA))
    routed.compaction = CapacityCompaction(0.4)
    check_the_same(model, fullgraph=True, backend="eager")


class Broken(nn.Module):
    """A part that torch cannot compile, between and inside of routed layers."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args):
        torch._dynamo.graph_break()
        return self.module(*args)


def test_nothing_is_lost_between_several_graphs():
    model = budgeted()
    for block in model.blocks:
        layer = block.branches[1]
        layer.router.router.projection = Broken(layer.router.router.projection)
        layer.sub_modules[0].output = Broken(layer.sub_modules[0].output)
    tokens = torch.randint(11, (3, 30))
    call = sma.recorded(model, compiled=True, backend="eager")
    for _ in range(2):
        ours, counts = step(model, call, tokens)
        theirs, expected = step(model, sma.recorded(model), tokens)
        assert counts == expected
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1


def test_a_recording_around_it_sees_nothing():
    layer = SMA(sma.modules.AlwaysActive(1), [sma.modules.FeedForward(4, d_hidden=4)])
    call = sma.recorded(layer, compiled=True, backend="eager")
    x = torch.randn(2, 5, 4)
    call(x)
    with sma.record() as around:
        result, recording = call(x)
    assert not around.layers
    assert [record.name for record in recording.layers] == [""]
    torch.testing.assert_close(result, layer(x))


def test_a_failed_call_leaves_nothing_behind():
    layer = SMA(sma.modules.AlwaysActive(1), [sma.modules.FeedForward(4, d_hidden=4)])
    call = sma.recorded(layer, compiled=True, backend="eager")
    with pytest.raises(ValueError, match="D"):
        call(torch.randn(2, 5))
    with sma.record() as recording:
        layer(torch.randn(2, 5, 4))
    assert len(recording.layers) == 1
    assert sma.recording._as_results == [None]


def test_options_without_compilation_are_refused():
    with pytest.raises(ValueError, match=r"\['backend'\] are those of torch.compile; set compiled=True"):
        sma.recorded(nn.Identity(), backend="eager")
