"""The kinds of `ParallelSpec` of this package, and the family: whoever imports it from here knows them."""

from sma.training.parallel.family import ParallelSpec
from sma.training.parallel.replicas import DDPSpec
from sma.training.parallel.sharded import FSDPSpec

__all__ = ["DDPSpec", "FSDPSpec", "ParallelSpec"]
