"""Blocks one after another: a model's, one block of several, and one routed sub-module of several."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from sma import Edges, OneOf, SequenceModule, State, register
from sma.architectures.blocks.packing import packed_rows
from sma.architectures.specs.families import BlockSpec, LayerSpec, SubModuleSpec, build_each
from sma.elements import PackedRows
from sma.modules.adapters import SequenceSubModule
from sma.recomputation import recompute
from sma.sequence import call
from sma.state import check_parts, check_state


class Blocks(nn.ModuleList):
    """Blocks that are applied one after another.

    Args:
        blocks: in order.

    Attributes:
        activation_checkpointing: whether, in training, a block's activations are computed again in the
            backward pass instead of being kept, see `sma.recompute`. A block that consists of `Blocks`
            leaves it to them.

    Example:
        >>> import torch
        >>> from sma.modules import MultiHeadEMA
        >>> Blocks([MultiHeadEMA(8), MultiHeadEMA(8)])(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    activation_checkpointing: bool = False

    if TYPE_CHECKING:

        @override
        def __iter__(self) -> Iterator[SequenceModule]: ...

    def __init__(self, blocks: Iterable[SequenceModule]) -> None:
        super().__init__(blocks)

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        """Nothing is computed for padding where that pays. `edges` goes to the blocks that use it."""
        found = packed_rows(self, x, mask) if rows is None and edges is None else None
        if found is not None and any(block.takes_rows for block in self):
            return found.pad(self.forward(found.pack(x), rows=found))
        for block in self:
            inputs = (block, x, mask, edges, rows)
            x = recompute(call, *inputs) if self._recomputes(block) else call(*inputs)
        return x

    def _recomputes(self, block: nn.Module) -> bool:
        if not (self.activation_checkpointing and self.training):
            return False
        return not any(isinstance(part, Blocks) for part in block.children())


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
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        """`edges` goes to the blocks that use it."""
        return self.blocks(x, mask, edges, rows)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StackState:
        states = (block.init_state(batch_size, device=device, dtype=dtype) for block in self.blocks)
        return StackState(tuple(states))

    @override
    def step(self, x: Tensor, state: StackState, mask: Tensor | None = None) -> Tensor:
        states = check_state(state, StackState, len(x)).blocks
        check_parts(state, states, len(self.blocks))
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
        return Stack(build_each(self.blocks, d_model))


@register
class RoutedLayerSpec(SubModuleSpec):
    """Builds a layer or a block that runs on each row's activated elements only.

    With a stack of blocks that is Mixture-of-Depths, with `sma` nested routing.

    Attributes:
        layer: the layer or block; one that is repeated is a stack.
        change_only: give what it adds to its input, so that a skipped element and one with confidence 0 both
            pass a surrounding residual connection unchanged.
    """

    kind: Literal["layer"] = "layer"
    layer: OneOf[LayerSpec | BlockSpec]
    change_only: bool = False

    @override
    def build(self, d_model: int) -> SequenceSubModule:
        layers = build_each((self.layer,), d_model)
        layer = layers[0] if len(layers) == 1 else Stack(layers)
        return SequenceSubModule(layer, change_only=self.change_only)
