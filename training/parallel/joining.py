"""Joining the processes that torchrun started."""

from collections.abc import Iterator
from contextlib import contextmanager

from sma.training.parallel.contract import OneProcess, Parallel
from sma.training.parallel.family import ParallelSpec
from sma.training.parallel.processes import process_group
from sma.training.parallel.replicas import DDPSpec
from sma.training.parallel.torchrun import Place


@contextmanager
def started(spec: ParallelSpec | None, *, device: str = "auto") -> Iterator[Parallel]:
    """Take part, inside the `with` block, in what torchrun started; by itself where it started one process.

    Args:
        spec: how. None: `ddp`.
        device: what the model will be on, as in `TrainSpec`.
    """
    place = Place.found()
    if place.world == 1:
        yield OneProcess()
        return
    with process_group(device):
        yield (spec if spec is not None else DDPSpec()).build(place)
