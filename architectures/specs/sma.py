"""Specs of sparse modular activation: compactions, sub-modules behind a router, one that is always active."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from sma import (
    CapacityCompaction,
    OneOf,
    PackedCompaction,
    PaddedCompaction,
    SparseModularActivation,
    register,
)
from sma.architectures.specs.families import CompactionSpec, LayerSpec, RouterSpec, SubModuleSpec, build_each
from sma.architectures.specs.fields import Share, Size
from sma.modules.adapters import Dense
from sma.spec.registry import lifts


@register
class PackedSpec(CompactionSpec):
    """Builds `PackedCompaction`."""

    kind: Literal["packed"] = "packed"

    @override
    def build(self) -> PackedCompaction:
        return PackedCompaction()


@register
class PaddedSpec(CompactionSpec):
    """Builds `PaddedCompaction`."""

    kind: Literal["padded"] = "padded"

    @override
    def build(self) -> PaddedCompaction:
        return PaddedCompaction()


@register
class CapacitySpec(CompactionSpec):
    """Builds `CapacityCompaction`.

    Attributes:
        capacity: elements per row, or a share of the elements so far.
        strict: make an overflow an error.
    """

    kind: Literal["capacity"] = "capacity"
    capacity: Size | Share
    strict: bool = False

    @override
    def build(self) -> CapacityCompaction:
        return CapacityCompaction(self.capacity, strict=self.strict)


@register
class SMASpec(LayerSpec):
    """Builds `SparseModularActivation`: sub-modules behind a router.

    Attributes:
        router: decides for `len(modules)` sub-modules.
        modules: the sub-modules.
        compaction: the layout of active elements.
    """

    kind: Literal["sma"] = "sma"
    router: OneOf[RouterSpec]
    modules: Annotated[tuple[OneOf[SubModuleSpec], ...], Field(min_length=1)]
    compaction: OneOf[CompactionSpec] = PackedSpec()

    @override
    def build(self, d_model: int) -> SparseModularActivation:
        return SparseModularActivation(
            self.router.build(d_model, len(self.modules)),
            build_each(self.modules, d_model),
            compaction=self.compaction.build(),
        )


@register
@lifts("module")
class DenseSpec(LayerSpec):
    """Builds `Dense`: a sub-module that every element reaches.

    A sub-module that is written where a layer is wanted is lifted to one by this spec.

    Attributes:
        module: the sub-module.
    """

    kind: Literal["dense"] = "dense"
    module: OneOf[SubModuleSpec]

    @override
    def build(self, d_model: int) -> Dense:
        return Dense(self.module.build(d_model))
