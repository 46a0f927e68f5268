"""Blocks one after another as one block: repeating patterns of unlike blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from sma import Edges, OneOf, SequenceModule, State, register
from sma.architectures.blocks.block_list import Blocks
from sma.architectures.specs.families import BlockSpec
from sma.state import check_state


@dataclass(frozen=True)
class StackState(State):
    """Decoding state of a stack: one per block."""

    blocks: tuple[State, ...]


class Stack(SequenceModule[StackState]):
    """Blocks one after another, as one `SequenceModule`.

    Args:
        blocks: applied in order.

    Example:
        >>> from sma.modules import MultiHeadEMA
        >>> Stack([MultiHeadEMA(8), MultiHeadEMA(8)])(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, blocks: Sequence[SequenceModule]) -> None:
        super().__init__()
        self.blocks = Blocks(blocks)

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None, edges: Edges | None = None) -> Tensor:
        """`edges` goes to the blocks that use it."""
        return self.blocks(x, mask, edges)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StackState:
        states = (block.init_state(batch_size, device=device, dtype=dtype) for block in self.blocks)
        return StackState(tuple(states))

    @override
    def step(self, x: Tensor, state: StackState, mask: Tensor | None = None) -> Tensor:
        states = check_state(state, StackState, len(x)).blocks
        for block, part in zip(self.blocks, states, strict=True):
            x = block.step(x, part, mask)
        return x

    @override
    def flops(self, n: int) -> int:
        return sum(block.flops(n) for block in self.blocks)


@register
class StackSpec(BlockSpec):
    """Builds a `Stack`; with `repeat` a pattern, such as three SSM blocks to one with attention.

    Attributes:
        blocks: the pattern.
    """

    kind: Literal["stack"] = "stack"
    blocks: Annotated[tuple[OneOf[BlockSpec], ...], Field(min_length=1)]

    @override
    def build(self, d_model: int) -> Stack:
        return Stack([block.build(d_model) for block in self.blocks for _ in range(block.repeat)])
