"""The contracts of the mechanism's own parts, and of the toys that other tests build on."""

from torch import nn

from sma import CapacityCompaction, PackedCompaction, PaddedCompaction, PerElement, Pointwise
from sma.testing import (
    CausalMean,
    CompactionContract,
    InputRouter,
    RouterContract,
    SequenceModuleContract,
    SubModuleContract,
)


class TestPackedCompaction(CompactionContract):
    def make(self):
        return PackedCompaction()


class TestPaddedCompaction(CompactionContract):
    def make(self):
        return PaddedCompaction()


class TestCapacityCompaction(CompactionContract):
    def make(self):
        return CapacityCompaction(12)


class TestCapacityCompactionByFraction(CompactionContract):
    def make(self):
        return CapacityCompaction(1.0)


class TestInputRouter(RouterContract):
    def make(self):
        return InputRouter(3)


class TestCausalMean(SubModuleContract):
    def make(self):
        return CausalMean(self.d_model)


class TestPointwise(SubModuleContract):
    def make(self):
        return Pointwise(nn.Sequential(nn.Linear(self.d_model, 4), nn.SiLU(), nn.Linear(4, self.d_model)))


class TestPerElement(SequenceModuleContract):
    def make(self):
        return PerElement(nn.Linear(self.d_model, self.d_model))
