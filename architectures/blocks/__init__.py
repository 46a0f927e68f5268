"""Blocks: the residual block, stacks of blocks."""

from sma.architectures.blocks.residual import Residual, ResidualSpec, ResidualState
from sma.architectures.blocks.stack import Blocks, RoutedLayerSpec, Stack, StackSpec, StackState

__all__ = [
    "Blocks",
    "Residual",
    "ResidualSpec",
    "ResidualState",
    "RoutedLayerSpec",
    "Stack",
    "StackSpec",
    "StackState",
]
