"""The process group of a run in several processes, and the part that all its kinds share."""

import logging
from abc import ABC
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from typing_extensions import override

from sma.modules.norms import BatchNorm
from sma.training.environment import find_device
from sma.training.parallel.contract import Parallel
from sma.training.parallel.torchrun import Place, store

TIMEOUT = timedelta(hours=1)
"""How long a process waits for another, which may be reading data or writing a checkpoint."""

KEPT = "kept"
"""A key in torchrun's store."""


class Processes(Parallel, ABC):
    """Several processes with a process group.

    Args:
        place: of this process.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.rank, self.world, self.attempt = place.rank, place.world, place.attempt

    @override
    def device(self, name: str) -> torch.device:
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(name)
        if device.type != "cuda":
            return find_device(name)
        if device.index is not None:
            raise ValueError(
                f"device={name!r} is one device for {self.world} processes; use device=cuda, and each takes "
                "its own"
            )
        n_devices, local = torch.cuda.device_count(), self.place.local_rank
        if local >= n_devices:
            raise ValueError(
                f"process {local} of this machine has no GPU, as there are {n_devices}; start at most "
                f"--nproc-per-node {n_devices}, or use device=cpu"
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    @override
    def sum(self, values: Tensor) -> Tensor:
        total = values.detach().cpu().clone()
        distributed.all_reduce(total)
        return total

    @override
    def wait(self) -> None:
        self.sum(torch.zeros(1))

    @override
    @contextmanager
    def in_turn(self) -> Iterator[None]:
        if self.place.local_rank > 0:
            self.wait()
        yield
        if self.place.local_rank == 0:
            self.wait()

    @override
    def terminable(self) -> AbstractContextManager[object]:
        return nullcontext()

    @override
    def tell(self, text: str | None) -> str:
        told = [text]
        distributed.broadcast_object_list(told)
        assert told[0] is not None
        return told[0]

    @override
    def keep(self, text: str) -> None:
        keeper = store()
        if keeper is not None:
            keeper.set(KEPT, text)

    @property
    @override
    def kept(self) -> str | None:
        keeper = store()
        return keeper.get(KEPT).decode() if keeper is not None and keeper.check([KEPT]) else None


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """A process group inside the `with` block, unless there is one already: gloo, with nccl on GPUs.

    After an error it is left as it is, since others may have ended; the process is to end as well.
    """
    if distributed.is_initialized():
        yield
        return
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    for name in ("torch.distributed", "torch.nn.parallel"):
        logging.getLogger(name).setLevel(logging.ERROR)
    place, shared = Place.found(), store(TIMEOUT)
    if shared is None:
        distributed.init_process_group(backend, timeout=TIMEOUT)
    else:  # which still holds the addresses of processes that ended: those of each start have a prefix
        own = distributed.PrefixStore(f"attempt_{place.attempt}", shared)  # type: ignore[attr-defined]
        distributed.init_process_group(
            backend, timeout=TIMEOUT, store=own, rank=place.rank, world_size=place.world
        )
    yield
    distributed.destroy_process_group()


def share_statistics(model: nn.Module) -> None:
    """Let batch norms take the statistics of all processes' elements, as one process would."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.sync = True
