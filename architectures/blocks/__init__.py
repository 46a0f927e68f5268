"""Blocks: the residual block, stacks of blocks."""

from sma.architectures.blocks.residual import Residual, ResidualSpec, ResidualState
from sma.architectures.blocks.stack import Blocks, BlocksSpec, RoutedLayerSpec, Stack, StackSpec, StackState

__all__ = [
    "Blocks",
    "BlocksSpec",
    "Residual",
    "ResidualSpec",
    "ResidualState",
    "RoutedLayerSpec",
    "Stack",
    "StackSpec",
    "StackState",
]
