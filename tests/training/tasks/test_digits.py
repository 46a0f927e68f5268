"""The split of the digits."""

import pytest
import torch

from sma.training.tasks.digits import DigitsSpec
from sma.training.tasks.rows_task import RowsTask


@pytest.fixture(scope="module")
def task() -> RowsTask:
    return DigitsSpec().build()


def test_a_fifth_is_test_data_and_no_image_is_in_two_splits(task: RowsTask) -> None:
    sizes = {name: len(rows) for name, rows in task.splits.items()}
    assert sum(sizes.values()) == 1797
    assert sizes["test"] / 1797 == pytest.approx(0.2, abs=0.005)
    assert sizes["validation"] > 100


def test_every_split_has_its_share_of_every_digit(task: RowsTask) -> None:
    totals = torch.stack(
        [torch.from_numpy(rows.labels).bincount(minlength=10) for rows in task.splits.values()]
    )
    shares = totals / totals.sum(0)
    assert (shares - shares.mean(1, keepdim=True)).abs().max() < 0.01


def test_batches_are_sequences_of_pixels(task: RowsTask) -> None:
    batch = task.training_batch(5, torch.Generator().manual_seed(0))
    assert batch.inputs.shape == (5, 64, 1)
    assert batch.inputs.min() >= 0
    assert batch.inputs.max() <= 1
    assert batch.targets.shape == (5,)


def test_pixels_with_ink_are_told_from_the_background(task: RowsTask) -> None:
    batch = task.training_batch(3, torch.Generator().manual_seed(0))
    assert isinstance(batch.inputs, torch.Tensor)
    assert torch.equal(batch.roles, batch.inputs[..., 0].gt(0).long())


def test_evaluation_reads_every_image_once(task: RowsTask) -> None:
    seen = torch.cat([batch.targets for batch in task.evaluation_batches("test", 50)])
    assert seen.tolist() == task.splits["test"].labels.tolist()


def test_baselines_are_honest(task: RowsTask) -> None:
    constant, linear, neighbours = task.baselines().values()
    assert constant == pytest.approx(0.1, abs=0.01)
    assert 0.9 < linear < neighbours <= 1
