"""SeqBoat's layer as one module."""

import torch
from torch import Tensor
from typing_extensions import Unpack, override

from sma import Edges, SequenceModule
from sma.architectures.blocks.residual import ResidualState
from sma.architectures.presets.seqboat import SeqBoatOptions, seqboat_block


class SeqBoat(SequenceModule[ResidualState]):
    r"""One SeqBoat layer: an SSM decides which elements a gated attention unit attends to.

    $$ H = \text{SiLU}(\text{EMA}(\text{norm}(X))), \qquad
       Y = \text{SiLU}(X + \text{Linear}(H) + \text{SMA}(H; \text{GAU})) $$

    (Fig. 2 of https://arxiv.org/abs/2306.11197.) Time and memory are linear in L. Built from
    `seqboat_block(**options)`; compose your own from specs where you need more freedom.

    Args:
        d_model: D.
        **options: see `seqboat_block`.

    Example:
        >>> layer = SeqBoat(32, window=8, bidirectional=True)
        >>> layer(torch.randn(2, 20, 32)).shape
        torch.Size([2, 20, 32])
    """

    def __init__(self, d_model: int, **options: Unpack[SeqBoatOptions]) -> None:
        super().__init__()
        self.spec = seqboat_block(**options)
        self.block = self.spec.build(d_model)

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None, edges: Edges | None = None) -> Tensor:
        """0 at padding."""
        return self.block(x, mask, edges)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ResidualState:
        return self.block.init_state(batch_size, device=device, dtype=dtype)

    @override
    def step(self, x: Tensor, state: ResidualState, mask: Tensor | None = None) -> Tensor:
        return self.block.step(x, state, mask)
