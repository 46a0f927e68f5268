"""Rows: padding and masks, batches of like length in which each row is as likely, and what is refused."""

import numpy as np
import pytest
import torch

from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask


def rows_of(lengths, *, n_classes=2, features=False):
    """Rows that hold 1, 2, 3, ... so that every element can be told from the others."""
    values = np.arange(1, sum(lengths) + 1)
    if features:
        values = np.stack([values, -values], 1)
    return Rows(values, np.cumsum(lengths), np.arange(len(lengths)) % n_classes)


def task_of(training, **options):
    splits = {"training": training, "validation": rows_of([2, 3]), "test": rows_of([4, 1, 2])}
    return RowsTask(splits, title="numbers", facts={}, classes=["even", "odd"], **options)


def test_a_batch_is_padded_on_the_right():
    batch = rows_of([2, 3, 1]).batch([2, 0, 1])
    assert batch.inputs.tolist() == [[6, 0, 0], [1, 2, 0], [3, 4, 5]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert batch.targets.tolist() == [0, 0, 1]


def test_features_are_scaled():
    rows = rows_of([1, 2], features=True)
    batch = Rows(rows.values, rows.ends, rows.labels, scale=2).batch([1])
    assert batch.inputs.tolist() == [[[1, -1], [1.5, -1.5]]]
    assert batch.mask is None


def test_roles_are_padded_like_the_rows():
    rows = rows_of([2, 3])
    batch = Rows(rows.values, rows.ends, rows.labels, roles=rows.values % 3).batch([0, 1])
    assert batch.roles.tolist() == [[1, 2, 0], [0, 1, 2]]


def test_tokens_say_their_roles():
    rows = Rows(np.array([2, 0, 1]), np.array([1, 3]), np.array([0, 1]), token_roles=np.array([5, 6, 7]))
    assert rows.batch([0, 1]).roles.tolist() == [[7, 0], [5, 6]]


def test_rows_of_like_length_share_a_batch():
    lengths = list(range(1, 201))
    task = task_of(rows_of(lengths))
    generator = torch.Generator().manual_seed(0)
    spans = []
    for _ in range(100):
        batch = task.training_batch(10, generator)
        found = batch.inputs.ne(0).sum(1)
        spans.append(int(found.max() - found.min()))
    assert np.mean(spans) < 60  # of 199, which random batches nearly reach
    assert float(task.facts["padding"].split("%")[0]) < 25


def test_every_row_is_as_likely_as_any_other():
    lengths = list(range(1, 21))
    task = task_of(rows_of(lengths))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([task.training_batch(4, generator).inputs[:, 0] for _ in range(3000)])
    firsts, counts = drawn.unique(return_counts=True)
    assert len(firsts) == 20
    assert (counts.double() / len(drawn) - 1 / 20).abs().max() < 0.008


def test_the_generator_gives_the_batch():
    task = task_of(rows_of([3, 9, 4, 1]))
    first, again = (task.training_batch(3, torch.Generator().manual_seed(5)).inputs for _ in range(2))
    assert torch.equal(first, again)


def test_evaluation_reads_every_row_once():
    task = task_of(rows_of([2, 2]))
    batches = list(task.evaluation_batches("test", 2))
    assert [batch.inputs.shape[1] for batch in batches] == [2, 4]
    assert sorted(int(row[0]) for batch in batches for row in batch.inputs) == [1, 5, 6]


def test_baselines():
    training = Rows(np.array([0, 0, 1, 1, 0, 1, 1, 1]), np.arange(1, 9), np.array([0, 0, 1, 1, 0, 1, 1, 1]))
    splits = {"training": training, "validation": training, "test": training}
    task = RowsTask(splits, title="", facts={}, classes=["zero", "one"], names=["0", "1"])
    assert task.baselines() == {
        "always the most common class (one)": 5 / 8,
        "logistic regression of token counts": 1.0,
    }


@pytest.mark.parametrize(
    ("training", "told"),
    [
        (rows_of([]), "training split has no rows"),
        (rows_of([2, 0, 1]), "row 1 of the training split has no elements"),
        (
            rows_of([2, 2, 2], n_classes=3),
            "row 2 of the training split has label 2, .* are 0 to 1",
        ),
    ],
)
def test_what_is_refused(training, told):
    with pytest.raises(ValueError, match=told):
        task_of(training)
