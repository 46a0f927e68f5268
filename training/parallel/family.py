"""The family of specs that say how processes share a model."""

from abc import abstractmethod

from sma import Spec
from sma.training.parallel.contract import Parallel
from sma.training.parallel.torchrun import Place


class ParallelSpec(Spec):
    """Family of ways to share a model among the processes that torchrun started.

    In one process there is nothing to share, and every kind is the same.
    """

    @abstractmethod
    def build(self, place: Place) -> Parallel:
        """How this process takes part; inside a process group."""
