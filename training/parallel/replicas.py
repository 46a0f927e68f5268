"""Data parallelism: every process holds the whole model."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from sma import Recording, register
from sma.compilation import Recorded
from sma.training.parallel.family import ParallelSpec
from sma.training.parallel.processes import Processes, share_statistics
from sma.training.parallel.torchrun import Place


class _Called(nn.Module):
    """A model and how it is called, compiled or not: gradients are exchanged around that."""

    def __init__(self, model: nn.Module, call: Recorded) -> None:
        super().__init__()
        self.model = model
        self.call = call

    @override
    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Recording]:
        return self.call(*args, **kwargs)


class Replicas(Processes):
    """Every process holds the whole model; gradients are averaged while backward runs.

    torch's `DistributedDataParallel` (https://arxiv.org/abs/2006.15704), without `find_unused_parameters`:
    with nothing active every gradient of an SMA layer is a zero tensor.
    """

    @override
    def check(self, *, compiled: bool) -> None:
        pass

    @override
    def wrap(self, model: nn.Module, call: Recorded) -> Recorded:
        share_statistics(model)
        # A group of its own: the order in which gradients and routers' sums are exchanged need not be the
        # same in processes that activate unlike numbers of elements.
        self._wrapped = DistributedDataParallel(_Called(model, call), process_group=distributed.new_group())
        return self._wrapped

    @override
    def wrap_average(self, model: nn.Module) -> None:
        pass

    @override
    def accumulating(self, *, last: bool) -> AbstractContextManager[object]:
        return nullcontext() if last else self._wrapped.no_sync()


@register
class DDPSpec(ParallelSpec):
    """Every process holds the whole model: for models that fit into a device's memory, see `Replicas`."""

    kind: Literal["ddp"] = "ddp"

    @override
    def build(self, place: Place) -> Replicas:
        return Replicas(place)
