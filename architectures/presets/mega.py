"""Presets of the models that SeqBoat is compared with, from the same parts.

Each is a causal language model or a bidirectional classifier, as `seqboat` is.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from typing_extensions import Unpack

from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.blocks.stack import StackSpec
from sma.architectures.models.sequence import SequenceModelSpec
from sma.architectures.presets.seqboat import (
    SeqBoatOptions,
    check_options,
    seqboat,
    seqboat_block,
    sequence_model,
)
from sma.architectures.specs.attention import LearnedBiasSpec, MegaSpec
from sma.architectures.specs.families import BlockSpec, LayerSpec, NormSpec, PositionSpec
from sma.architectures.specs.feed_forward import FeedForwardLayerSpec, LinearSpec
from sma.architectures.specs.norms import LayerNormSpec
from sma.architectures.specs.routers import AlwaysActiveSpec
from sma.architectures.specs.sma import SMASpec
from sma.architectures.specs.ssm import EMASpec


class MegaOptions(TypedDict, total=False):
    """What can be chosen in a MEGA layer, beside its width; see `mega_blocks`."""

    d_qk: int
    d_hidden: int | None
    d_state: int
    truncation: int | None
    d_feed_forward: int | None
    max_positions: int
    bidirectional: bool
    attention: Literal["softmax", "relu2", "laplace"]
    position: PositionSpec
    norm: NormSpec
    norm_position: Literal["pre", "post"]
    dropout: float


def mega_blocks(
    *, d_model: int, n_layers: int = 1, chunk: int | None = None, **options: Unpack[MegaOptions]
) -> tuple[BlockSpec, ...]:
    """MEGA's layers (https://arxiv.org/abs/2209.10655): gated attention, then a feed-forward block.

    Args:
        d_model: D.
        n_layers: how many of them.
        chunk: elements that attend to each other; None: the whole row.
        **options: `d_qk` (64), `d_hidden` (2 D) and `attention` (softmax); `max_positions` (2048), the
            longest row to decode without `chunk`, and the reach of the default `position`, a learned bias;
            `d_state` (16) and `truncation` (None) of the moving average; `d_feed_forward` (2 D, None for no
            such block); `norm` (layer norm), `norm_position` (pre), `dropout` (0), `bidirectional` (False).
    """
    check_options(options, MegaOptions)
    bidirectional, dropout = options.get("bidirectional", False), options.get("dropout", 0.0)
    max_positions = options.get("max_positions", 2048)
    norm, norm_position = options.get("norm", LayerNormSpec()), options.get("norm_position", "pre")
    d_feed_forward = options.get("d_feed_forward", 2 * d_model)
    mega_layer = MegaSpec(
        norm=norm,
        norm_position=norm_position,
        mixer=EMASpec(
            d_state=options.get("d_state", 16),
            bidirectional=bidirectional,
            truncation=options.get("truncation"),
        ),
        d_qk=options.get("d_qk", 64),
        d_hidden=options.get("d_hidden"),
        chunk=chunk,
        max_positions=max_positions if chunk is None else None,
        bidirectional=bidirectional,
        attention=options.get("attention", "softmax"),
        position=options.get("position", LearnedBiasSpec(max_positions=chunk or max_positions)),
        dropout=dropout,
    )
    if d_feed_forward is None:
        return (mega_layer.model_copy(update={"repeat": n_layers}),)
    feed_forward = FeedForwardLayerSpec(d_hidden=d_feed_forward, activation="silu")
    blocks = (mega_layer, plain_residual(feed_forward, norm, norm_position, dropout))
    return (StackSpec(blocks=blocks, repeat=n_layers),)


def mega(
    *,
    d_model: int,
    n_layers: int,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    **options: Unpack[MegaOptions],
) -> SequenceModelSpec:
    """MEGA (https://arxiv.org/abs/2209.10655): every element attends to the whole row; quadratic in L.

    Arguments as in `seqboat`, options as in `mega_blocks`.

    Example:
        >>> mega(vocab_size=256, d_model=64, n_layers=4).blocks[0].blocks[0].kind
        'mega'
    """
    directed: MegaOptions = {"bidirectional": n_classes is not None, **options}
    blocks = mega_blocks(d_model=d_model, n_layers=n_layers, **directed)
    return complete_model(d_model, blocks, options, vocab_size, d_input, n_classes)


def mega_chunk(
    *,
    d_model: int,
    n_layers: int,
    chunk: int = 128,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    **options: Unpack[MegaOptions],
) -> SequenceModelSpec:
    """MEGA-chunk: every element attends to its own chunk of `chunk` elements; linear in L.

    Other arguments as in `seqboat`, options as in `mega_blocks`.

    Example:
        >>> spec = mega_chunk(vocab_size=256, d_model=64, n_layers=4, chunk=32)
        >>> spec.blocks[0].blocks[0].position.max_positions
        32
    """
    directed: MegaOptions = {"bidirectional": n_classes is not None, **options}
    blocks = mega_blocks(d_model=d_model, n_layers=n_layers, chunk=chunk, **directed)
    return complete_model(d_model, blocks, options, vocab_size, d_input, n_classes)


def seqboat_full(
    *,
    d_model: int,
    n_layers: int,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    **options: Unpack[SeqBoatOptions],
) -> SequenceModelSpec:
    """SeqBoat without a window: an activated element attends to all activated ones of its row.

    Quadratic in the number of activated elements, and without step-by-step decoding. Arguments as in
    `seqboat`.

    Raises:
        ValueError: if `window` is given.

    Example:
        >>> seqboat_full(vocab_size=256, d_model=64, n_layers=4).blocks[0].branches[1].modules[0].window
    """
    if options.get("window") is not None:
        raise ValueError(f"seqboat_full has no window, got window={options['window']}; use seqboat")
    unlimited: SeqBoatOptions = {**options, "window": None}
    return seqboat(
        d_model=d_model,
        n_layers=n_layers,
        vocab_size=vocab_size,
        d_input=d_input,
        n_classes=n_classes,
        **unlimited,
    )


def gau_always(
    *,
    d_model: int,
    n_layers: int,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    **options: Unpack[SeqBoatOptions],
) -> SequenceModelSpec:
    """SeqBoat without a router: every element activates the GAU, with confidence 1.

    Arguments as in `seqboat`.

    Example:
        >>> gau_always(vocab_size=256, d_model=64, n_layers=4).blocks[0].branches[1].router.kind
        'always'
    """
    directed: SeqBoatOptions = {"bidirectional": n_classes is not None, **options}
    block = seqboat_block(n_layers=n_layers, **directed)
    linear, routed = block.branches
    assert isinstance(routed, SMASpec)
    always = routed.model_copy(update={"router": AlwaysActiveSpec()})
    blocks = (block.model_copy(update={"branches": (linear, always)}),)
    return complete_model(d_model, blocks, options, vocab_size, d_input, n_classes)


def ssm_only(
    *,
    d_model: int,
    n_layers: int,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    **options: Unpack[SeqBoatOptions],
) -> SequenceModelSpec:
    """SeqBoat without attention: what the moving averages and the linear branch do alone.

    Arguments as in `seqboat`; those of the GAU and its router have no effect.

    Example:
        >>> len(ssm_only(vocab_size=256, d_model=64, n_layers=4).blocks[0].branches)
        1
    """
    directed: SeqBoatOptions = {"bidirectional": n_classes is not None, **options}
    block = seqboat_block(n_layers=n_layers, **directed)
    blocks = (block.model_copy(update={"branches": (LinearSpec(),)}),)
    return complete_model(d_model, blocks, options, vocab_size, d_input, n_classes)


def plain_residual(
    branch: LayerSpec, norm: NormSpec, norm_position: Literal["pre", "post"], dropout: float
) -> ResidualSpec:
    """The usual residual block around a branch."""
    return ResidualSpec(
        norm=norm, norm_position=norm_position, branches=(branch,), activation="identity", dropout=dropout
    )


def complete_model(
    d_model: int,
    blocks: tuple[BlockSpec, ...],
    options: Mapping[str, Any],
    vocab_size: int | None,
    d_input: int | None,
    n_classes: int | None,
) -> SequenceModelSpec:
    """The stack with what `seqboat` puts around it: a last norm only where blocks begin with theirs."""
    post_norm = options.get("norm_position") == "post"
    return sequence_model(
        d_model=d_model,
        blocks=blocks,
        vocab_size=vocab_size,
        d_input=d_input,
        n_classes=n_classes,
        norm=None if post_norm else options.get("norm", LayerNormSpec()),
        dropout=options.get("dropout", 0.0),
    )
