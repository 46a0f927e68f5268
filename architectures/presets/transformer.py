"""Presets of transformers: attention over whole rows, and over windows."""

from typing import Literal, TypedDict

from typing_extensions import Unpack

from sma.architectures.blocks.stack import StackSpec
from sma.architectures.models.sequence import SequenceModelSpec
from sma.architectures.presets.mega import complete_model, plain_residual
from sma.architectures.presets.seqboat import check_options
from sma.architectures.specs.attention import DenseAttentionSpec, MultiHeadAttentionSpec, RotarySpec
from sma.architectures.specs.families import BlockSpec, LayerSpec, NormSpec, PositionSpec
from sma.architectures.specs.feed_forward import FeedForwardLayerSpec
from sma.architectures.specs.norms import LayerNormSpec
from sma.architectures.specs.sma import DenseSpec


class TransformerOptions(TypedDict, total=False):
    """What can be chosen in a transformer, beside its width; see `transformer`."""

    n_heads: int
    d_feed_forward: int
    bidirectional: bool
    position: PositionSpec
    norm: NormSpec
    norm_position: Literal["pre", "post"]
    dropout: float


def transformer(
    *,
    d_model: int,
    n_layers: int,
    max_positions: int = 2048,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    **options: Unpack[TransformerOptions],
) -> SequenceModelSpec:
    """A transformer (https://arxiv.org/abs/1706.03762) with pre-norm and rotary positions; quadratic in L.

    Args:
        d_model: D.
        n_layers: of attention, each followed by a feed-forward block.
        max_positions: the longest row in step-by-step decoding.
        vocab_size: see `seqboat`, as for `d_input` and `n_classes`.
        d_input: see there.
        n_classes: see there.
        **options: `n_heads` (one per 64 features), `d_feed_forward` (4 D), `position` (rotary), `norm` (layer
            norm), `norm_position` (pre), `dropout` (0) on the result of every block, and `bidirectional`.

    Example:
        >>> transformer(vocab_size=256, d_model=128, n_layers=4).blocks[0].blocks[0].branches[0].n_heads
        2
    """
    bidirectional = options.get("bidirectional", n_classes is not None)
    attention = DenseAttentionSpec(
        n_heads=options.get("n_heads", max(1, d_model // 64)),
        bidirectional=bidirectional,
        position=options.get("position", RotarySpec()),
        max_positions=None if bidirectional else max_positions,
    )
    blocks = _transformer_blocks(attention, d_model, n_layers, options)
    return complete_model(d_model, blocks, options, vocab_size, d_input, n_classes)


def local_attention(
    *,
    d_model: int,
    n_layers: int,
    window: int = 128,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    **options: Unpack[TransformerOptions],
) -> SequenceModelSpec:
    """A transformer whose elements see the `window` before them, and after them in a classifier; linear in L.

    Other arguments as in `transformer`.

    Example:
        >>> spec = local_attention(vocab_size=256, d_model=128, n_layers=4)
        >>> spec.blocks[0].blocks[0].branches[0].module.window
        128
    """
    attention = MultiHeadAttentionSpec(
        n_heads=options.get("n_heads", max(1, d_model // 64)),
        window=window,
        bidirectional=options.get("bidirectional", n_classes is not None),
        position=options.get("position", RotarySpec()),
    )
    blocks = _transformer_blocks(DenseSpec(module=attention), d_model, n_layers, options)
    return complete_model(d_model, blocks, options, vocab_size, d_input, n_classes)


def _transformer_blocks(
    attention: LayerSpec, d_model: int, n_layers: int, options: TransformerOptions
) -> tuple[BlockSpec, ...]:
    check_options(options, TransformerOptions)
    feed_forward = FeedForwardLayerSpec(d_hidden=options.get("d_feed_forward", 4 * d_model))
    norm, norm_position = options.get("norm", LayerNormSpec()), options.get("norm_position", "pre")
    dropout = options.get("dropout", 0.0)
    parts = (plain_residual(part, norm, norm_position, dropout) for part in (attention, feed_forward))
    return (StackSpec(blocks=tuple(parts), repeat=n_layers),)
