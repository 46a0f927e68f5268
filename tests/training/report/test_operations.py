"""Operations of a model's calls: rows by their lengths, routed parts as activated."""

import pytest
import torch
from torch import nn

import sma
from sma.architectures import mega_chunk, mixtral_like, seqboat, transformer
from sma.training.report.operations import OperationCount, counting
from sma.training.tasks.task import Batch

MASK = torch.tensor([[True] * 9, [True] * 4 + [False] * 5, [False] * 9])
SIZES = {"vocab_size": 11, "d_model": 8, "n_layers": 2}


def by_hand(model: nn.Module, lengths: list[int]) -> int:
    """What the modules say themselves, row by row, without what is behind routers."""
    blocks = sum(block.flops(n) for block in model.blocks for n in lengths)  # type: ignore[union-attr,operator]
    return blocks + sum(model.head.flops(n) for n in lengths)  # type: ignore[union-attr,operator]


@pytest.mark.parametrize(
    "spec",
    [
        seqboat(**SIZES, d_qk=4, d_state=2, window=3),
        transformer(**SIZES, n_heads=2),
        mega_chunk(**SIZES, chunk=4, d_state=2, d_qk=4),
        mixtral_like(**SIZES, n_heads=2, n_experts=3, d_hidden=6),
    ],
    ids=["seqboat", "transformer", "mega_chunk", "mixtral_like"],
)
def test_rows_count_by_their_lengths_and_routed_parts_as_activated(spec) -> None:
    torch.manual_seed(0)
    model = spec.build()
    tokens = torch.randint(11, MASK.shape)
    with sma.record(model) as recording:
        model(tokens, MASK)
    routed = sum(
        module.flops(int(n))
        for layer in recording.layers
        for module, column in zip(layer.modules, layer.received.unbind(1), strict=True)
        for n in column
    )
    assert routed or not recording.layers
    count = OperationCount(model)
    assert count.uncounted == []
    assert count.of(Batch(tokens, tokens, MASK), recording) == by_hand(model, [9, 4, 0]) + routed


def test_a_classifier_costs_once_per_row() -> None:
    model = seqboat(d_input=1, n_classes=10, d_model=8, n_layers=1, d_qk=4, d_state=2, window=3).build()
    count = OperationCount(model)
    assert count.fixed([20]) == model.blocks[0].flops(20) + 20 * 2 * 8 + 2 * 8 * 10


def test_parts_that_do_not_count_are_named() -> None:
    class Silent(sma.SequenceModule):
        def forward(self, x, mask=None):
            return x

    model = nn.Sequential(nn.Linear(2, 2), Silent())
    assert OperationCount(model).uncounted == ["1"]
    assert counting(model, needed_for=None) is None
    with pytest.raises(ValueError, match=r"operations=1e\+12 cannot be counted, as 1 does not count its own"):
        counting(model, needed_for=1e12)
