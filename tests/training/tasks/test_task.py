"""The contract of tasks: batches that a model cannot read, units, and what tasks without files answer."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sma.training.tasks.digits import DigitsSpec
from sma.training.tasks.recall import AssociativeRecallSpec
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.running import check_fit
from sma.training.tasks.task import Batch, Evaluation, Task


class Positions(nn.Module):
    """Knows five tokens and three positions."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(5, 2), nn.Embedding(3, 2)

    def forward(self, inputs, mask=None):
        return self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1]))


@pytest.mark.parametrize("inputs", [torch.zeros(2, 4, dtype=torch.long), torch.full((2, 3), 5)])
def test_rows_that_a_model_cannot_read_are_named(inputs):
    Batch(torch.full((2, 3), 4), torch.zeros(2)).scores(Positions())
    length, highest = inputs.shape[1], int(inputs.max())
    with pytest.raises(
        ValueError, match=f"rows of {length} elements whose highest value is {highest}"
    ) as error:
        Batch(inputs, torch.zeros(2)).scores(Positions())
    assert "vocab_size or more positions, or make rows shorter by task.max_length" in str(error.value)


def test_units_of_several_targets():
    found = Evaluation(loss=math.log(2), accuracy=0.5, n_targets=20, seconds=1, activation_rates={})
    assert (found.bits, found.n_units) == (pytest.approx(1), 20)
    found = Evaluation(math.log(2), 0.5, 20, 1, {}, targets_per_unit=0.25)
    assert (found.bits, found.n_units) == (pytest.approx(0.25), 80)


def test_tasks_that_read_no_files_say_so(tmp_path):
    from sma.training.tasks.graphs import KarateSpec

    task = KarateSpec().build()
    with pytest.raises(ValueError, match="this task reads no other files; change its data by --set"):
        task.on_file(Path("a.csv"))
    with pytest.raises(ValueError, match="there is nothing to predict"):
        task.predictions(nn.Linear(1, 1), Path("a.csv"), 3)
    assert DigitsSpec().build().targets_per_unit("test") == 1


def test_a_model_is_tried_with_the_longest_row_of_all_splits():
    def rows(*lengths):
        return Rows(np.zeros(sum(lengths), "u1"), np.cumsum(lengths), np.zeros(len(lengths), np.int64))

    splits = {"training": rows(2, 1), "validation": rows(1, 3, 2), "test": rows(1)}

    def task(**changed):
        return RowsTask({**splits, **changed}, title="rows", facts={}, classes=["a", "b"])

    class Pooled(Positions):
        def forward(self, inputs, mask=None):
            return super().forward(inputs, mask).mean(1)

    assert task().longest_batch().inputs.shape == (1, 3)
    check_fit(Pooled(), task())
    with pytest.raises(ValueError, match=r"cannot read this task's inputs .*rows of 4 elements"):
        check_fit(Pooled(), task(test=rows(1, 4)))


def test_elements_are_shown_as_what_they_are():
    task = DigitsSpec().build()
    assert task.columns == 8
    assert task.element_texts(torch.tensor([[0.25], [1.0]])) == ["0.25", "1"]
    tokens = Rows(np.array([0, 1], np.uint8), np.array([2]), np.array([0]))
    named = RowsTask(
        dict.fromkeys(("training", "validation", "test"), tokens),
        title="t", facts={}, classes=["a", "b"], names=["[MAX ", "7 "],
    )  # fmt: skip
    assert named.element_texts(torch.tensor([1, 0, 1])) == ["7 ", "[MAX ", "7 "]
    assert named.columns is None
    recall = AssociativeRecallSpec(length=9, n_pairs=1, n_queries=1).build()
    assert recall.element_texts(torch.tensor([3, 10])) == ["3 ", "10 "]


class Shifted:
    """Batches whose labels are others than those of rows."""

    def training_batch(self, batch_size, generator):
        batch = RowsTask.training_batch(self, batch_size, generator)
        return replace(batch, targets=1 - batch.targets)


class ShiftedRows(RowsTask):
    """The same by a method of its own."""

    training_batch = Shifted.training_batch


class Named(ShiftedRows):
    """Changes nothing about the data."""


class Parted(RowsTask):
    """Changes both."""

    training_batch = Shifted.training_batch

    def training_part(self, batch_size, generator, rank, world):
        part = super().training_part(batch_size, generator, rank, world)
        return replace(part, batch=replace(part.batch, targets=1 - part.batch.targets))


class Beside(Shifted, RowsTask):
    """The same by a class that is not a task."""


@pytest.mark.parametrize("kind", [RowsTask, ShiftedRows, Named, Beside, Parted])
def test_processes_train_on_the_rows_that_the_class_of_a_task_gives(kind):
    """Also where it overrides `training_batch` alone."""
    rows = Rows(np.arange(40, dtype=np.uint8), np.arange(1, 41), np.arange(40) % 2)
    splits = dict.fromkeys(("training", "validation", "test"), rows)
    task = kind(splits, title="rows", facts={}, classes=["a", "b"])
    drawn = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    whole, part = task.training_batch(6, drawn()), task.training_part(6, drawn(), 1, 2)
    assert (part is None) == (kind not in (RowsTask, Parted))
    if part is not None:
        assert torch.equal(part.batch.targets, whole.targets[1::2])
    assert Task.training_part(task, 6, drawn(), 1, 2) is None
