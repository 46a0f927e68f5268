"""Decisions about rows as one list, against a recording of each row."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sma
from sma.modules import LatentConfigurator
from sma.modules.adapters import SequenceSubModule
from sma.testing import CausalMean
from sma.training.inspection.decisions import count_rows, pick_rows, read_decisions, spread
from sma.training.inspection.reader import Reader
from sma.training.tasks.task import Batch, Task

from .conftest import LENGTH, N_ROWS, Ragged


def test_decisions_are_those_of_the_recording(recall: tuple[Task, nn.Module]) -> None:
    task, model = recall
    rows = pick_rows(task, "test", 5, [1, 7, 11])
    found = read_decisions(Reader(model), rows)
    assert found.names == ["layer 1, GAU", "layer 2, GAU"]
    assert found.n_rows == 3
    assert len(found) == 3 * LENGTH
    whole = next(task.evaluation_batches("test", N_ROWS))
    for place, number in enumerate((1, 7, 11)):
        of_row = found.row == place
        assert found.position[of_row].tolist() == list(range(LENGTH))
        with sma.record(model) as recording, torch.no_grad():
            scores = model(whole.inputs[number : number + 1])  # type: ignore[index]
        for i, layer in enumerate(recording.layers):
            assert torch.equal(found.active[of_row, i], layer.routing.active[0, :, 0])
            torch.testing.assert_close(found.confidence[of_row, i], layer.routing.confidence[0, :, 0].float())
        assert 0 < found.active[of_row].float().mean() < 1
        assert whole.roles is not None
        assert whole.needs is not None
        assert found.roles is not None
        assert found.needs is not None
        assert found.loss is not None
        assert torch.equal(found.roles[of_row], whole.roles[number])
        assert torch.equal(found.needs[of_row], whole.needs[number])
        for t, target in enumerate(whole.targets[number].tolist()):
            loss = float(found.loss[of_row][t])
            if target == -100:
                assert math.isnan(loss)
            else:
                assert loss == pytest.approx(-float(F.log_softmax(scores[0, t], -1)[target]) / math.log(2))


def test_picked_rows_have_no_padding() -> None:
    task: Any = Ragged()
    assert count_rows(task, "test", 2) == 3
    rows = pick_rows(task, "test", 2, [2, 0])
    assert [batch.inputs.tolist() for batch in rows] == [[[0, 1, 2]], [[0, 1, 2, 3, 4]]]  # type: ignore[union-attr]
    assert rows[0].roles is not None
    assert rows[0].roles.tolist() == [[0, 1, 0]]
    assert rows[1].roles is None


def test_rows_are_spread_over_a_split() -> None:
    assert spread(4, 100) == [0, 25, 50, 75]
    assert spread(100, 4) == [0, 1, 2, 3]


def test_attention_is_known(recall: tuple[Task, nn.Module]) -> None:
    task, model = recall
    columns = read_decisions(Reader(model), pick_rows(task, "test", 5, [0])).columns
    assert [(c.layer, c.module, c.window, c.attends, c.bidirectional) for c in columns] == [
        (f"blocks.{i}.branches.1", 0, 3, True, False) for i in range(2)
    ]


def test_models_that_cannot_be_read_are_named() -> None:
    row = Batch(torch.zeros(1, 4, 6), torch.tensor([0]))

    def model(*layers: nn.Module) -> nn.Module:
        class Mean(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = nn.Sequential(nn.Linear(6, 6), *layers)

            def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
                return self.inner(x).mean(1)

        return Mean()

    layer = sma.SMA(LatentConfigurator(6), [CausalMean(6)])
    outer = sma.SMA(LatentConfigurator(6), [SequenceSubModule(layer)])
    with pytest.raises(ValueError, match="no routers, so there are no decisions"):
        read_decisions(Reader(model()), [row])
    with pytest.raises(ValueError, match="called more than once, or reads other elements"):
        read_decisions(Reader(model(layer, layer)), [row])
    with pytest.raises(ValueError, match="layers all see every element once"):
        read_decisions(Reader(model(outer)), [row])


@pytest.mark.parametrize(("inputs", "what"), [((0, 0), "pairs of rows"), (object(), "graphs")])
def test_batches_that_are_not_rows_are_named(inputs: Any, what: str) -> None:
    batches = [Batch(inputs, torch.zeros(1))]
    task: Any = SimpleNamespace(title="odd data", evaluation_batches=lambda split, batch_size: iter(batches))
    with pytest.raises(ValueError, match=f"the batches of odd data are {what}; see the run's report"):
        count_rows(task, "test", 1)
