"""The contract of training in one process or several, and that of one process."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.compilation import Recorded
from sma.training.environment import derive_seed, find_device
from sma.training.interrupts import terminable
from sma.training.parallel.dealing import deal
from sma.training.tasks.task import Batch


class Parallel(ABC):
    """How the processes of a run share its work.

    All of them draw the same batches and take the same steps; each computes its share, and gradients are
    averaged. What a method does in several processes, all of them must do together.

    Attributes:
        rank: the number of this process.
        world: how many there are.
        attempt: how often they were started anew.
    """

    rank: int = 0
    world: int = 1
    attempt: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    @abstractmethod
    def device(self, name: str) -> torch.device:
        """The device of this process, see `find_device`."""

    @abstractmethod
    def wrap(self, model: nn.Module, call: Recorded) -> Recorded:
        """Let the processes share a model, which stays what is saved and evaluated.

        Args:
            model: what is trained.
            call: what `sma.recorded` makes of it.

        Returns:
            What is called in training in place of `call`.
        """

    @abstractmethod
    def wrap_average(self, model: nn.Module) -> None:
        """Let the processes share averages of the weights as they share these; they are only evaluated."""

    @abstractmethod
    def check(self, *, compiled: bool) -> None:
        """See that compilation, if it is wanted, goes with this way to share a model.

        Raises:
            ValueError: if it does not.
        """

    @abstractmethod
    def accumulating(self, *, last: bool) -> AbstractContextManager[object]:
        """Around forward and backward of a micro-batch: gradients are exchanged in the last one only."""

    @abstractmethod
    def sum(self, values: Tensor) -> Tensor:
        """The sum of every process's `values`, on the CPU."""

    @abstractmethod
    def wait(self) -> None:
        """Until all processes are here."""

    @abstractmethod
    def in_turn(self) -> AbstractContextManager[object]:
        """The first process of each machine runs the `with` block before the others: it fills caches."""

    @abstractmethod
    def terminable(self) -> AbstractContextManager[object]:
        """The block may be left by SIGTERM, see `interrupts.terminable`, where processes need not agree."""

    @abstractmethod
    def tell(self, text: str | None) -> str:
        """The text that the first process gives; what the others give does not matter."""

    @abstractmethod
    def keep(self, text: str) -> None:
        """Keep a text for these processes, in case that they are started anew."""

    @property
    @abstractmethod
    def kept(self) -> str | None:
        """What was kept last, also before they were started anew; None if nothing was."""

    def share(self, batch: Batch) -> Batch:
        """This process's share of a batch of all.

        Raises:
            ValueError: if a process would have no data.
        """
        return batch if self.world == 1 else deal(batch, self.rank, self.world)

    def seed(self, seed: int) -> int:
        """The seed of what this process draws by itself, such as dropout."""
        return seed if self.rank == 0 else derive_seed(seed, self.rank)

    def batches(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
        """Every `world`-th batch, and whether it counts.

        All processes get equally many; where one has none left, it gets one that does not count.
        """
        group: list[Batch] = []
        for batch in batches:
            group.append(batch)
            if len(group) == self.world:
                yield group[self.rank], True
                group = []
        if group:
            counts = self.rank < len(group)
            yield group[self.rank if counts else 0], counts


class OneProcess(Parallel):
    """Everything in this process.

    Example:
        >>> OneProcess().sum(torch.tensor(3.0))
        tensor(3.)
    """

    @override
    def device(self, name: str) -> torch.device:
        return find_device(name)

    @override
    def check(self, *, compiled: bool) -> None:
        pass

    @override
    def wrap(self, model: nn.Module, call: Recorded) -> Recorded:
        return call

    @override
    def wrap_average(self, model: nn.Module) -> None:
        pass

    @override
    def accumulating(self, *, last: bool) -> AbstractContextManager[object]:
        return nullcontext()

    @override
    def sum(self, values: Tensor) -> Tensor:
        return values

    @override
    def wait(self) -> None:
        pass

    @override
    def in_turn(self) -> AbstractContextManager[object]:
        return nullcontext()

    @override
    def terminable(self) -> AbstractContextManager[object]:
        return terminable()

    @override
    def tell(self, text: str | None) -> str:
        assert text is not None
        return text

    @override
    def keep(self, text: str) -> None:
        pass

    @property
    @override
    def kept(self) -> str | None:
        return None
