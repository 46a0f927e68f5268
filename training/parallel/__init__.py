"""Training in several processes: how they share out a model, its data and its evaluation."""

from sma.training.parallel.contract import OneProcess, Parallel
from sma.training.parallel.family import ParallelSpec
from sma.training.parallel.joining import started
from sma.training.parallel.replicas import DDPSpec
from sma.training.parallel.sharded import FSDPSpec

__all__ = ["DDPSpec", "FSDPSpec", "OneProcess", "Parallel", "ParallelSpec", "started"]
