"""The blocks of a model or a stack, and whether their activations are kept."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn
from typing_extensions import override

from sma import Edges, SequenceModule
from sma.recomputation import recompute
from sma.sequence import arguments


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
    def forward(self, x: Tensor, mask: Tensor | None = None, edges: Edges | None = None) -> Tensor:
        """`edges` goes to the blocks that use it."""
        for block in self:
            inputs = arguments(block, x, mask, edges)
            x = recompute(block, *inputs) if self._recomputes(block) else block(*inputs)
        return x

    def _recomputes(self, block: nn.Module) -> bool:
        if not (self.activation_checkpointing and self.training):
            return False
        return not any(isinstance(part, Blocks) for part in block.children())
