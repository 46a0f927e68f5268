"""Specs of what stands inside a block: mixers and branches."""

from typing import Annotated, Literal

from pydantic import Field
from torch import nn
from typing_extensions import override

from sma import (
    CapacityCompaction,
    OneOf,
    PackedCompaction,
    PaddedCompaction,
    PerElement,
    SparseModularActivation,
    register,
)
from sma.architectures.specs.families import (
    Activation,
    CompactionSpec,
    Dropout,
    LayerSpec,
    RouterSpec,
    Share,
    Size,
    SubModuleSpec,
)
from sma.modules.adapters import Dense
from sma.modules.functional import ActivationFunction, linear


@register
class LinearSpec(LayerSpec):
    """Builds a linear map of every element."""

    kind: Literal["linear"] = "linear"
    bias: bool = True

    @override
    def build(self, d_model: int) -> PerElement:
        return PerElement(linear(d_model, d_model, bias=self.bias))


@register
class FeedForwardLayerSpec(LayerSpec):
    """Builds two linear maps of every element with an activation between them.

    Attributes:
        d_hidden: width between the maps.
        activation: the element-wise function between them.
        dropout: on the hidden units.
    """

    kind: Literal["feed_forward"] = "feed_forward"
    d_hidden: Size
    activation: Activation = "gelu"
    dropout: Dropout = 0.0

    @override
    def build(self, d_model: int) -> PerElement:
        hidden, out = linear(d_model, self.d_hidden), linear(self.d_hidden, d_model)
        return PerElement(
            nn.Sequential(hidden, ActivationFunction(self.activation), nn.Dropout(self.dropout), out)
        )


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
    """Builds `CapacityCompaction`."""

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
            [module.build(d_model) for module in self.modules],
            compaction=self.compaction.build(),
        )


@register
class DenseSpec(LayerSpec):
    """Builds `Dense`: a sub-module that every element reaches.

    Attributes:
        module: the sub-module.
    """

    kind: Literal["dense"] = "dense"
    module: OneOf[SubModuleSpec]

    @override
    def build(self, d_model: int) -> Dense:
        return Dense(self.module.build(d_model))
