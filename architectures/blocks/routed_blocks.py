"""Blocks and layers as sub-modules: Mixture-of-Depths, nested SMA, SSMs over activated elements."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from sma import OneOf, register
from sma.architectures.blocks.stack import StackSpec
from sma.architectures.specs.families import BlockSpec, LayerSpec, SubModuleSpec
from sma.modules.adapters import SequenceSubModule


@register
class BlocksSpec(SubModuleSpec):
    """Builds blocks that run on each row's activated elements only: Mixture-of-Depths.

    Attributes:
        blocks: the stack.
        change_only: give what the blocks add to their input, so that a skipped element and one with
            confidence 0 both pass a surrounding residual connection unchanged.
    """

    kind: Literal["blocks"] = "blocks"
    blocks: Annotated[tuple[OneOf[BlockSpec], ...], Field(min_length=1)]
    change_only: bool = True

    @override
    def build(self, d_model: int) -> SequenceSubModule:
        return SequenceSubModule(StackSpec(blocks=self.blocks).build(d_model), change_only=self.change_only)


@register
class RoutedLayerSpec(SubModuleSpec):
    """Builds a layer that runs on each row's activated elements only: an SSM, or SMA inside SMA.

    Attributes:
        layer: the layer.
    """

    kind: Literal["layer"] = "layer"
    layer: OneOf[LayerSpec]

    @override
    def build(self, d_model: int) -> SequenceSubModule:
        return SequenceSubModule(self.layer.build(d_model))
