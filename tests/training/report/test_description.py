"""Descriptions add up."""

import pytest
import torch
from torch import nn

import sma
from sma.architectures import local_attention, mega_chunk, moe_seqboat, seqboat, switch
from sma.architectures.specs.sma import SMASpec
from sma.modules import (
    ExpertBank,
    ExpertChoiceRouter,
    FeedForward,
    LatentConfigurator,
    MixtureOfExperts,
    TopKRouter,
)
from sma.training.report.description import describe, operations, routed_flops


def test_parameters_add_up_and_equal_blocks_are_one_row() -> None:
    model = seqboat(vocab_size=20, d_model=8, n_layers=3, d_qk=4, window=4, d_state=2).build()
    parts = describe(model)
    assert sum(part.parameters * part.count for part in parts) == sum(p.numel() for p in model.parameters())
    assert [part.count for part in parts if part.kind == "GAU"] == [3]
    assert {part.name for part in parts} >= {
        "embedding",
        "blocks.0-2.mixer",
        "blocks.0-2.branches.1.sub_modules.0",
    }


def test_cost_of_the_branches() -> None:
    model = seqboat(vocab_size=20, d_model=8, n_layers=1, d_qk=4, window=4, d_state=2).build()
    costs = {part.kind: part for part in describe(model)}
    assert costs["Linear"].flops == 2 * 8 * 8
    gau = model.blocks[0].branches[1].sub_modules[0]  # type: ignore[index, union-attr]
    assert costs["GAU"].flops == gau.flops(1024) / 1024  # type: ignore[operator]
    assert costs["GAU"].routed
    assert not costs["Linear"].routed


def test_attention_and_moving_averages_of_other_models_are_counted() -> None:
    block = mega_chunk(vocab_size=20, d_model=8, n_layers=1, d_qk=4, chunk=4).build().blocks[0].blocks[0]
    (cost,) = (part.flops for part in describe(nn.Sequential(block)))
    assert cost == block.flops(1024) / 1024  # type: ignore[operator]


def test_a_dense_layer_is_not_routed() -> None:
    parts = describe(local_attention(vocab_size=20, d_model=8, n_layers=2, n_heads=2, window=4).build())
    attention = [part.name for part in parts if part.kind == "MultiHeadAttention"]
    assert attention == ["blocks.0-1.blocks.0.branches.0"]
    assert not any(part.routed for part in parts)


def test_parameters_around_a_routed_layer_are_counted() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(8))
            self.layer = sma.SMA(LatentConfigurator(8, n_modules=1), [FeedForward(8, d_hidden=4)])

    model = nn.Sequential(Gate())
    parts = describe(model)
    assert (parts[0].name, parts[0].kind, parts[0].parameters) == ("0", "Gate", 8)
    assert sum(part.parameters * part.count for part in parts) == sum(p.numel() for p in model.parameters())


def test_any_module_can_be_described() -> None:
    parts = describe(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)))
    assert [(part.kind, part.parameters, part.flops) for part in parts] == [
        ("Linear", 16, 24),
        ("Linear", 8, 16),
    ]


def test_routed_operations_at_measured_rates() -> None:
    model = seqboat(vocab_size=8, d_model=8, n_layers=2).build()
    full = sum((part.flops or 0) * part.count for part in describe(model) if part.routed)
    rates = {"blocks.0.branches.1": [1.0], "blocks.1.branches.1": [0.5]}
    assert routed_flops(model, rates) == pytest.approx(full * 0.75)


NESTED = {
    "kind": "sma",
    "router": {"kind": "random", "rate": 0.7, "seed": 1},
    "modules": [
        {
            "kind": "layer",
            "layer": {
                "kind": "sma",
                "router": {"kind": "random", "rate": 0.4, "seed": 2},
                "modules": [{"kind": "feed_forward", "d_hidden": 16}],
            },
        }
    ],
}


def described(router, *modules):  # type: ignore[no-untyped-def]
    """The parts of a layer, and the operations of the routed ones at most."""
    spec = SMASpec.model_validate({"router": router, "modules": modules})
    parts = describe(nn.ModuleDict({"layer": spec.build(8)}))
    nothing, at_most = operations(parts)
    return parts, at_most - nothing


def test_the_parts_of_a_layer_that_routes_inside() -> None:
    inner = [part for part in described(NESTED["router"], *NESTED["modules"])[0] if part.routed]
    assert [part.kind for part in inner] == ["FeedForward"]
    assert inner[0].flops == FeedForward(8, d_hidden=16).flops(1)


NARROW, WIDE = ({"kind": "feed_forward", "d_hidden": d_hidden} for d_hidden in (16, 48))
COST = FeedForward(8, d_hidden=16).flops(1)


@pytest.mark.parametrize(
    ("router", "modules", "at_most"),
    [
        ("latent_configurator", [NARROW, WIDE], 4),
        ({"kind": "top_k", "top_k": 1, "normalize": False}, [NARROW] * 4, 1),
        ({"kind": "top_k", "top_k": 2}, [NARROW, WIDE, NARROW], 4),  # unlike ones: the wide, and a narrow one
        ({"kind": "expert_choice", "capacity": 0.125}, [NARROW], 1 / 8),
        ("never", [NARROW], 0),
        ({"kind": "activation_budget", "router": "never", "rate": 0.3, "coefficient": 1}, [NARROW], 0),
    ],
)
def test_operations_at_most_are_what_the_router_allows(router, modules, at_most) -> None:  # type: ignore[no-untyped-def]
    assert described(router, *modules)[1] == pytest.approx(at_most * COST)


def test_operations_at_most_of_nested_routers_multiply() -> None:
    inner = {"kind": "sma", "router": {"kind": "top_k", "top_k": 2}, "modules": [NARROW] * 3}
    router = {"kind": "expert_choice", "capacity": 0.25}
    assert described(router, {"kind": "layer", "layer": inner})[1] == pytest.approx(
        (2 * COST + 2 * 3 * 8) / 4
    )


@pytest.mark.parametrize(
    ("router", "experts"),
    [(TopKRouter(8, n_modules=4, top_k=2), 2), (ExpertChoiceRouter(8, n_modules=4, capacity=0.125), 1 / 2)],
)
def test_operations_at_most_of_a_bank_are_those_of_the_experts_an_element_takes(router, experts) -> None:  # type: ignore[no-untyped-def]
    bank = ExpertBank(8, n_experts=4, d_hidden=16, gated=False)
    nothing, at_most = operations(describe(nn.ModuleDict({"layer": MixtureOfExperts(router, bank)})))
    assert at_most - nothing == pytest.approx(experts * COST)


class Uncounted(sma.SubModule):
    """Does not say what it costs."""

    def forward(self, elements: sma.Elements) -> torch.Tensor:
        return elements.x


def test_a_part_that_counts_nothing_is_told_from_one_that_costs_nothing() -> None:
    layer = sma.SMA(LatentConfigurator(8), [Uncounted()])
    parts = describe(nn.ModuleDict({"layer": layer, "norm": nn.LayerNorm(8)}))
    assert [(part.kind, part.flops) for part in parts] == [
        ("LatentConfigurator", 2 * 2 * 8),
        ("Uncounted", None),
        ("LayerNorm", 0),
    ]


@pytest.mark.parametrize(
    "build",
    [
        lambda: SMASpec(**NESTED).build(8),
        lambda: switch(vocab_size=8, d_model=8, n_layers=2, n_heads=2, capacity_factor=8).build(),
        lambda: moe_seqboat(vocab_size=8, d_model=8, n_layers=1, window=2000).build(),
    ],
    ids=["nested", "switch", "moe_seqboat"],
)
@torch.no_grad()
def test_routed_operations_are_those_recorded(build) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = build()
    x = torch.randn(1, 64, 8) if isinstance(model, sma.SMA) else torch.randint(8, (1, 64))
    with sma.record(model) as recording:
        model(x)
    rates = recording.activation_rates
    spent = sum(sum(layer.flops) for layer in recording.layers)
    attention = sum(
        module.flops(n) - n * module.flops(1024) / 1024
        for layer in recording.layers
        for module, n in zip(layer.modules, layer.n_elements.tolist(), strict=True)
    )  # which sees fewer keys in shorter rows
    assert routed_flops(model, rates) == pytest.approx((spent - attention) / 64)
