"""MEGA and MEGA-chunk."""

from typing import Literal

from sma import OneOf
from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.blocks.stack import StackSpec
from sma.architectures.presets.preset import Blocks, Borrowed, Chosen, preset
from sma.architectures.presets.transformer import plain_residual
from sma.architectures.specs.attention import LearnedBiasSpec, MegaSpec
from sma.architectures.specs.families import PositionSpec
from sma.architectures.specs.feed_forward import FeedForwardSpec
from sma.architectures.specs.fields import Dropout, Size
from sma.architectures.specs.sma import DenseSpec
from sma.architectures.specs.ssm import EMASpec

MEGA: Borrowed = {
    MegaSpec: "d_qk d_hidden attention",
    EMASpec: "d_state truncation",
    ResidualSpec: "norm norm_position",
}
FeedForward = Size | Literal["twice"] | None


@preset(MEGA)
def mega(
    chosen: Chosen,
    *,
    d_model: Size,
    max_positions: Size = 2048,
    d_feed_forward: FeedForward = "twice",
    position: OneOf[PositionSpec] | None = None,
    dropout: Dropout = 0.0,
) -> Blocks:
    """MEGA (https://arxiv.org/abs/2209.10655): every element attends to the whole row; quadratic in L.

    Args:
        d_model: D.
        max_positions: the longest row in step-by-step decoding, and the reach of the default position.
        d_feed_forward: width of the feed-forward block after each layer: twice D, or None for no such block.
        position: how attention sees positions; a learned bias by default.
        dropout: on the moving average and on the result of every block.

    Example:
        >>> mega(vocab_size=256, d_model=64, n_layers=4).blocks[0].blocks[0].kind
        'mega'
    """
    position = position or LearnedBiasSpec(max_positions=max_positions)
    return _layers(chosen, d_model, d_feed_forward, position, dropout, max_positions=max_positions)


@preset(MEGA)
def mega_chunk(
    chosen: Chosen,
    *,
    d_model: Size,
    chunk: Size = 128,
    d_feed_forward: FeedForward = "twice",
    position: OneOf[PositionSpec] | None = None,
    dropout: Dropout = 0.0,
) -> Blocks:
    """MEGA-chunk: every element attends to its own chunk of `chunk` elements; linear in L.

    Args:
        d_model: D.
        chunk: elements that attend to each other.
        d_feed_forward: width of the feed-forward block after each layer: twice D, or None for no such block.
        position: how attention sees positions; a learned bias by default.
        dropout: on the moving average and on the result of every block.

    Example:
        >>> spec = mega_chunk(vocab_size=256, d_model=64, n_layers=4, chunk=32)
        >>> spec.blocks[0].blocks[0].position.max_positions
        32
    """
    position = position or LearnedBiasSpec(max_positions=chunk)
    return _layers(chosen, d_model, d_feed_forward, position, dropout, chunk=chunk)


def _layers(
    chosen: Chosen,
    d_model: int,
    d_feed_forward: FeedForward,
    position: PositionSpec,
    dropout: float,
    **reach: int,
) -> Blocks:
    feed_forward = FeedForwardSpec(
        d_hidden=2 * d_model if d_feed_forward in ("twice", None) else d_feed_forward, activation="silu"
    )
    after = plain_residual(chosen, DenseSpec(module=feed_forward), dropout)
    attention = chosen.spec(
        MegaSpec,
        repeat=chosen.n_layers if d_feed_forward is None else 1,
        norm=after.norm,
        norm_position=after.norm_position,
        mixer=chosen.spec(EMASpec, bidirectional=chosen.bidirectional),
        bidirectional=chosen.bidirectional,
        position=position,
        dropout=dropout,
        **reach,
    )
    if d_feed_forward is None:
        return (attention,)
    return (StackSpec(blocks=(attention, after), repeat=chosen.n_layers),)
