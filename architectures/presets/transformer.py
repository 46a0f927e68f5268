"""Transformers: attention over whole rows, and over windows."""

from typing import Any

from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.blocks.stack import StackSpec
from sma.architectures.presets.preset import Blocks, Borrowed, Chosen, preset
from sma.architectures.specs.attention import DenseAttentionSpec, MultiHeadAttentionSpec
from sma.architectures.specs.families import LayerSpec
from sma.architectures.specs.feed_forward import FeedForwardSpec
from sma.architectures.specs.fields import Dropout, Size
from sma.architectures.specs.sma import DenseSpec

RESIDUAL: Borrowed = {ResidualSpec: "norm norm_position"}


@preset({**RESIDUAL, DenseAttentionSpec: "position"})
def transformer(
    chosen: Chosen,
    *,
    d_model: Size,
    n_heads: Size | None = None,
    d_feed_forward: Size | None = None,
    max_positions: Size = 2048,
    dropout: Dropout = 0.0,
) -> Blocks:
    """A transformer (https://arxiv.org/abs/1706.03762) with pre-norm and rotary positions; quadratic in L.

    Args:
        d_model: D.
        n_heads: of attention; one per 64 features by default.
        d_feed_forward: width of the feed-forward block after attention; 4 D by default.
        max_positions: the longest row in step-by-step decoding.
        dropout: on the result of every block.

    Example:
        >>> transformer(vocab_size=256, d_model=128, n_layers=4).blocks[0].blocks[0].branches[0].n_heads
        2
    """
    attention = dense_attention(chosen, d_model, n_heads, max_positions)
    return pairs(chosen, attention, feed_forward(d_model, d_feed_forward), dropout=dropout)


@preset({**RESIDUAL, MultiHeadAttentionSpec: "position"})
def local_attention(
    chosen: Chosen,
    *,
    d_model: Size,
    n_heads: Size | None = None,
    d_feed_forward: Size | None = None,
    window: Size = 128,
    dropout: Dropout = 0.0,
) -> Blocks:
    """A transformer whose elements see the `window` before them, and after them in a classifier; linear in L.

    Args:
        d_model: D.
        n_heads: of attention; one per 64 features by default.
        d_feed_forward: width of the feed-forward block after attention; 4 D by default.
        window: neighbours that an element sees on each side it may look at.
        dropout: on the result of every block.

    Example:
        >>> spec = local_attention(vocab_size=256, d_model=128, n_layers=4)
        >>> spec.blocks[0].blocks[0].branches[0].module.window
        128
    """
    attention = chosen.spec(
        MultiHeadAttentionSpec,
        n_heads=n_heads or max(1, d_model // 64),
        window=window,
        bidirectional=chosen.bidirectional,
    )
    after = feed_forward(d_model, d_feed_forward)
    return pairs(chosen, DenseSpec(module=attention), after, dropout=dropout)


def dense_attention(
    chosen: Chosen, d_model: int, n_heads: int | None, max_positions: int
) -> DenseAttentionSpec:
    """Attention over whole rows; one head per 64 features unless their number is given."""
    return chosen.spec(
        DenseAttentionSpec,
        n_heads=n_heads or max(1, d_model // 64),
        bidirectional=chosen.bidirectional,
        max_positions=None if chosen.bidirectional else max_positions,
    )


def plain_residual(chosen: Chosen, branch: LayerSpec, dropout: float = 0.0, **others: Any) -> ResidualSpec:
    """The usual residual block around a branch."""
    return chosen.spec(ResidualSpec, branches=(branch,), activation="identity", dropout=dropout, **others)


def pairs(
    chosen: Chosen, attention: LayerSpec, after: LayerSpec, *, dropout: float = 0.0, **others: Any
) -> tuple[StackSpec]:
    """`n_layers` pairs of residual blocks: attention, and what comes after it."""
    blocks = tuple(plain_residual(chosen, part, dropout, **others) for part in (attention, after))
    return (StackSpec(blocks=blocks, repeat=chosen.n_layers),)


def feed_forward(d_model: int, d_hidden: int | None = None) -> DenseSpec:
    """The usual feed-forward layer; 4 D wide unless its width is given."""
    return DenseSpec(module=FeedForwardSpec(d_hidden=d_hidden or 4 * d_model))
