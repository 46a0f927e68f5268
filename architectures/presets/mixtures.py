"""Presets of architectures that route in other ways: depths, experts, unlike sub-modules.

Each takes `d_model`, `n_layers`, and what the task needs, as `seqboat` does.
"""

from typing_extensions import Unpack

from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.blocks.stack import BlocksSpec, StackSpec
from sma.architectures.models.sequence import SequenceModelSpec
from sma.architectures.presets.mega import plain_residual
from sma.architectures.presets.seqboat import SeqBoatOptions, seqboat_block, sequence_model
from sma.architectures.specs.attention import DenseAttentionSpec, GAUSpec
from sma.architectures.specs.families import BlockSpec, LayerSpec, NormSpec
from sma.architectures.specs.feed_forward import (
    ConvolutionSpec,
    FeedForwardLayerSpec,
    GatedFeedForwardSpec,
    LinearSpec,
    MixtureOfExpertsSpec,
)
from sma.architectures.specs.norms import LayerNormSpec, NoNormSpec, RMSNormSpec
from sma.architectures.specs.routers import ExpertChoiceSpec, LatentConfiguratorSpec, TopKSpec
from sma.architectures.specs.sma import SMASpec
from sma.architectures.specs.ssm import EMASpec


def mixture_of_depths(
    *,
    d_model: int,
    n_layers: int,
    capacity: float = 0.125,
    n_heads: int | None = None,
    max_positions: int = 2048,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
) -> SequenceModelSpec:
    """Mixture-of-Depths (https://arxiv.org/abs/2404.02258): every other transformer block takes few elements.

    The routed blocks choose the `capacity` share of a row that they score highest; in decoding a small causal
    predictor chooses. Rotary positions inside a routed block count the chosen elements.

    Args:
        d_model: D.
        n_layers: transformer blocks, an even number: half of them are routed.
        capacity: share of the elements that a routed block takes.
        n_heads: of attention; one per 64 features by default.
        max_positions: the longest row in step-by-step decoding.
        vocab_size: see `seqboat`, as for `d_input` and `n_classes`.
        d_input: see there.
        n_classes: see there.

    Raises:
        ValueError: if `n_layers` is odd.

    Example:
        >>> mixture_of_depths(vocab_size=256, d_model=64, n_layers=4).blocks[0].repeat
        2
    """
    if n_layers % 2:
        raise ValueError(f"half of the blocks are routed, so n_layers must be even, got {n_layers}")
    attention = _attention(d_model, n_heads, max_positions, bidirectional=n_classes is not None)
    blocks = _transformer_block(attention, FeedForwardLayerSpec(d_hidden=4 * d_model), LayerNormSpec())
    routed = SMASpec(
        router=ExpertChoiceSpec(capacity=capacity, d_predictor=max(1, d_model // 4)),
        modules=(BlocksSpec(blocks=blocks, change_only=True),),
    )
    pattern = StackSpec(blocks=(*blocks, _plain(routed, NoNormSpec())), repeat=n_layers // 2)
    return sequence_model(
        d_model=d_model,
        blocks=(pattern,),
        vocab_size=vocab_size,
        d_input=d_input,
        n_classes=n_classes,
        norm=LayerNormSpec(),
    )


def switch(
    *,
    d_model: int,
    n_layers: int,
    n_experts: int = 8,
    capacity_factor: float = 1.25,
    n_heads: int | None = None,
    max_positions: int = 2048,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
) -> SequenceModelSpec:
    """A Switch transformer (https://arxiv.org/abs/2101.03961): one expert per element, with a capacity limit.

    Args:
        d_model: D.
        n_layers: of attention, each followed by experts.
        n_experts: E.
        capacity_factor: an expert's largest share of a row, relative to an equal share.
        n_heads: see `mixture_of_depths`, as for what follows.
        max_positions: see there.
        vocab_size: see there.
        d_input: see there.
        n_classes: see there.

    Example:
        >>> switch(vocab_size=256, d_model=64, n_layers=2).blocks[0].blocks[1].branches[0].router.top_k
        1
    """
    experts = MixtureOfExpertsSpec(
        router=TopKSpec(top_k=1, normalize=False, z_coefficient=0.0, jitter=0.01),
        n_experts=n_experts,
        d_hidden=4 * d_model,
        gated=False,
        activation="relu",
        capacity_factor=capacity_factor,
    )
    attention = _attention(d_model, n_heads, max_positions, bidirectional=n_classes is not None)
    pattern = StackSpec(blocks=_transformer_block(attention, experts, LayerNormSpec()), repeat=n_layers)
    return sequence_model(
        d_model=d_model,
        blocks=(pattern,),
        vocab_size=vocab_size,
        d_input=d_input,
        n_classes=n_classes,
        norm=LayerNormSpec(),
    )


def mixtral_like(
    *,
    d_model: int,
    n_layers: int,
    n_experts: int = 8,
    top_k: int = 2,
    d_hidden: int | None = None,
    n_heads: int | None = None,
    max_positions: int = 2048,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
) -> SequenceModelSpec:
    """A transformer in Mixtral's form (https://arxiv.org/abs/2401.04088): gated experts, RMS norm.

    Args:
        d_model: D.
        n_layers: of attention, each followed by experts.
        n_experts: E.
        top_k: experts per element, at least 2.
        d_hidden: of each expert; 3.5 D by default, as in Mixtral.
        n_heads: see `mixture_of_depths`, as for what follows.
        max_positions: see there.
        vocab_size: see there.
        d_input: see there.
        n_classes: see there.

    Example:
        >>> spec = mixtral_like(vocab_size=256, d_model=64, n_layers=2)
        >>> spec.blocks[0].blocks[1].branches[0].d_hidden
        224
    """
    experts = MixtureOfExpertsSpec(
        router=TopKSpec(top_k=top_k, z_coefficient=0.0),
        n_experts=n_experts,
        d_hidden=d_model * 7 // 2 if d_hidden is None else d_hidden,
    )
    attention = _attention(d_model, n_heads, max_positions, bidirectional=n_classes is not None)
    pattern = StackSpec(blocks=_transformer_block(attention, experts, RMSNormSpec()), repeat=n_layers)
    return sequence_model(
        d_model=d_model,
        blocks=(pattern,),
        vocab_size=vocab_size,
        d_input=d_input,
        n_classes=n_classes,
        norm=RMSNormSpec(),
    )


def moe_seqboat(
    *,
    d_model: int,
    n_layers: int,
    n_experts: int = 8,
    top_k: int = 2,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    **options: Unpack[SeqBoatOptions],
) -> SequenceModelSpec:
    """SeqBoat with a block of routed experts after every layer.

    Args:
        d_model: D.
        n_layers: SeqBoat layers, each followed by experts.
        n_experts: E, gated feed-forwards of hidden width D.
        top_k: experts per element, at least 2.
        vocab_size: see `seqboat`, as for what follows.
        d_input: see there.
        n_classes: see there.
        **options: see there.

    Example:
        >>> [block.kind for block in moe_seqboat(vocab_size=256, d_model=64, n_layers=2).blocks[0].blocks]
        ['residual', 'residual']
    """
    experts = MixtureOfExpertsSpec(router=TopKSpec(top_k=top_k), n_experts=n_experts, d_hidden=d_model)
    directed: SeqBoatOptions = {"bidirectional": n_classes is not None, **options}
    layer = seqboat_block(**directed)
    norm = options.get("norm", LayerNormSpec())
    pattern = StackSpec(blocks=(layer, _plain(experts, norm)), repeat=n_layers)
    return sequence_model(
        d_model=d_model,
        blocks=(pattern,),
        vocab_size=vocab_size,
        d_input=d_input,
        n_classes=n_classes,
        norm=norm,
    )


def sma_all(
    *,
    d_model: int,
    n_layers: int,
    window: int = 128,
    d_state: int = 16,
    init_temperature_scale: float = 1.0,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
) -> SequenceModelSpec:
    """SeqBoat's layer with three unlike sub-modules: any element activates any of attention, feed-forward and
    convolution, in any combination.

    The convolution looks back in a classifier, too.

    Args:
        d_model: D.
        n_layers: depth.
        window: of attention.
        d_state: of the SSM.
        init_temperature_scale: of the router.
        vocab_size: see `seqboat`, as for `d_input` and `n_classes`.
        d_input: see there.
        n_classes: see there.

    Example:
        >>> [m.kind for m in sma_all(vocab_size=256, d_model=64, n_layers=2).blocks[0].branches[1].modules]
        ['gau', 'gated_feed_forward', 'convolution']
    """
    bidirectional = n_classes is not None
    routed = SMASpec(
        router=LatentConfiguratorSpec(init_temperature_scale=init_temperature_scale),
        modules=(
            GAUSpec(window=window, bidirectional=bidirectional),
            GatedFeedForwardSpec(d_hidden=2 * d_model),
            ConvolutionSpec(kernel_size=4, activation="silu"),
        ),
    )
    block = ResidualSpec(
        repeat=n_layers,
        mixer=EMASpec(d_state=d_state, bidirectional=bidirectional),
        branches=(LinearSpec(), routed),
    )
    return sequence_model(
        d_model=d_model,
        blocks=(block,),
        vocab_size=vocab_size,
        d_input=d_input,
        n_classes=n_classes,
        norm=LayerNormSpec(),
    )


def _attention(
    d_model: int, n_heads: int | None, max_positions: int, *, bidirectional: bool
) -> DenseAttentionSpec:
    return DenseAttentionSpec(
        n_heads=max(1, d_model // 64) if n_heads is None else n_heads,
        bidirectional=bidirectional,
        max_positions=None if bidirectional else max_positions,
    )


def _plain(branch: LayerSpec, norm: NormSpec) -> ResidualSpec:
    return plain_residual(branch, norm, "pre", 0.0)


def _transformer_block(
    attention: LayerSpec, feed_forward: LayerSpec, norm: NormSpec
) -> tuple[BlockSpec, ...]:
    return _plain(attention, norm), _plain(feed_forward, norm)
