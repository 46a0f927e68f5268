"""Work that processes share out without talking to each other."""

from typing import Any

import pytest
import torch

from sma.training import Batch
from sma.training.parallel.contract import OneProcess


class Fake(OneProcess):
    """Thinks that it is one of several."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world


def batches(n: int) -> list[Batch]:
    return [Batch(torch.full((1, 1), i), torch.zeros(1)) for i in range(n)]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7])
def test_every_evaluation_batch_counts_once(world: int, n: int) -> None:
    dealt = [list(Fake(rank, world).batches(batches(n))) for rank in range(world)]
    assert len({len(each) for each in dealt}) == 1  # or a sharded model would wait for ever
    counted: list[Any] = [int(b.inputs) for each in dealt for b, counts in each if counts]  # type: ignore[arg-type]
    assert sorted(counted) == list(range(n))


def test_the_first_process_draws_what_one_process_draws() -> None:
    seeds = [Fake(rank, 3).seed(5) for rank in range(3)]
    assert seeds[0] == OneProcess().seed(5) == 5
    assert len(set(seeds)) == 3
