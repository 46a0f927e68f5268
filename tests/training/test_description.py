"""Descriptions add up."""

import pytest
from torch import nn

from sma.architectures import mega_chunk, seqboat
from sma.training.description import describe, routed_flops


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
    block = mega_chunk(vocab_size=20, d_model=8, n_layers=1, d_qk=4, chunk=4).build().blocks[0]
    (cost,) = (part.flops for part in describe(nn.Sequential(block)))
    assert cost == block.flops(1024) / 1024  # type: ignore[operator]


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
