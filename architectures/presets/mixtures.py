"""Architectures that route in other ways: depths, experts, unlike sub-modules."""

from dataclasses import replace

from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.blocks.stack import RoutedLayerSpec, StackSpec
from sma.architectures.presets.preset import Blocks, Chosen, preset
from sma.architectures.presets.seqboat import SEQBOAT, seqboat_layer
from sma.architectures.presets.transformer import dense_attention, feed_forward, pairs, plain_residual
from sma.architectures.specs.attention import GAUSpec
from sma.architectures.specs.feed_forward import (
    ConvolutionSpec,
    FeedForwardSpec,
    LinearSpec,
    MixtureOfExpertsSpec,
)
from sma.architectures.specs.fields import Dropout, Positive, Share, Size
from sma.architectures.specs.norms import NoNormSpec, RMSNormSpec
from sma.architectures.specs.routers import ExpertChoiceSpec, LatentConfiguratorSpec, TopKSpec
from sma.architectures.specs.sma import SMASpec
from sma.architectures.specs.ssm import EMASpec


@preset()
def mixture_of_depths(
    chosen: Chosen,
    *,
    d_model: Size,
    capacity: Share = 0.125,
    n_heads: Size | None = None,
    max_positions: Size = 2048,
) -> Blocks:
    """Mixture-of-Depths (https://arxiv.org/abs/2404.02258): every other transformer block takes few elements.

    The routed blocks choose the `capacity` share of a row that they score highest; in decoding a small causal
    predictor chooses. Rotary positions inside a routed block count the chosen elements.

    Half of the `n_layers` blocks, an even number, are routed.

    Args:
        d_model: D.
        capacity: share of the elements that a routed block takes.
        n_heads: of attention; one per 64 features by default.
        max_positions: the longest row in step-by-step decoding.

    Raises:
        ValueError: if `n_layers` is odd.

    Example:
        >>> mixture_of_depths(vocab_size=256, d_model=64, n_layers=4).blocks[0].repeat
        2
    """
    if chosen.n_layers % 2:
        raise ValueError(f"half of the blocks are routed, so n_layers must be even, got {chosen.n_layers}")
    attention = dense_attention(chosen, d_model, n_heads, max_positions)
    (pair,) = pairs(replace(chosen, n_layers=1), attention, feed_forward(d_model))
    routed = SMASpec(
        router=ExpertChoiceSpec(capacity=capacity, d_predictor=max(1, d_model // 4)),
        modules=(RoutedLayerSpec(layer=pair, change_only=True),),
    )
    few = plain_residual(chosen, routed, norm=NoNormSpec())
    return (StackSpec(blocks=(*pair.blocks, few), repeat=chosen.n_layers // 2),)


@preset()
def switch(
    chosen: Chosen,
    *,
    d_model: Size,
    n_experts: Size = 8,
    capacity_factor: Positive | None = 1.25,
    n_heads: Size | None = None,
    max_positions: Size = 2048,
) -> Blocks:
    """A Switch transformer (https://arxiv.org/abs/2101.03961): one expert per element, with a capacity limit.

    Each layer is attention, followed by experts.

    Args:
        d_model: D.
        n_experts: E.
        capacity_factor: an expert's largest share of a row, relative to an equal share; None for no limit.
        n_heads: of attention; one per 64 features by default.
        max_positions: the longest row in step-by-step decoding.

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
    attention = dense_attention(chosen, d_model, n_heads, max_positions)
    return pairs(chosen, attention, experts)


@preset(norm=RMSNormSpec())
def mixtral_like(
    chosen: Chosen,
    *,
    d_model: Size,
    n_experts: Size = 8,
    top_k: Size = 2,
    d_hidden: Size | None = None,
    n_heads: Size | None = None,
    max_positions: Size = 2048,
) -> Blocks:
    """A transformer in Mixtral's form (https://arxiv.org/abs/2401.04088): gated experts, RMS norm.

    Each layer is attention, followed by experts.

    Args:
        d_model: D.
        n_experts: E.
        top_k: experts per element, at least 2.
        d_hidden: of each expert; 3.5 D by default, as in Mixtral.
        n_heads: of attention; one per 64 features by default.
        max_positions: the longest row in step-by-step decoding.

    Example:
        >>> spec = mixtral_like(vocab_size=256, d_model=64, n_layers=2)
        >>> spec.blocks[0].blocks[1].branches[0].d_hidden
        224
    """
    experts = MixtureOfExpertsSpec(
        router=TopKSpec(top_k=top_k, z_coefficient=0.0),
        n_experts=n_experts,
        d_hidden=d_hidden or d_model * 7 // 2,
    )
    attention = dense_attention(chosen, d_model, n_heads, max_positions)
    return pairs(chosen, attention, experts, norm=RMSNormSpec())


@preset(SEQBOAT)
def moe_seqboat(
    chosen: Chosen, *, d_model: Size, n_experts: Size = 8, top_k: Size = 2, dropout: Dropout = 0.0
) -> Blocks:
    """SeqBoat with a block of routed experts after every layer.

    Args:
        d_model: D.
        n_experts: E, gated feed-forwards of hidden width D.
        top_k: experts per element, at least 2.
        dropout: in SeqBoat's layers.

    Example:
        >>> [block.kind for block in moe_seqboat(vocab_size=256, d_model=64, n_layers=2).blocks[0].blocks]
        ['residual', 'residual']
    """
    experts = MixtureOfExpertsSpec(router=TopKSpec(top_k=top_k), n_experts=n_experts, d_hidden=d_model)
    layer = seqboat_layer(chosen, dropout).model_copy(update={"repeat": 1})
    return (StackSpec(blocks=(layer, plain_residual(chosen, experts)), repeat=chosen.n_layers),)


@preset({GAUSpec: "window", EMASpec: "d_state", LatentConfiguratorSpec: "init_temperature_scale"})
def sma_all(chosen: Chosen, *, d_model: Size) -> Blocks:
    """SeqBoat's layer with three unlike sub-modules: any element activates any of attention, feed-forward and
    convolution, in any combination.

    The convolution looks back in a classifier, too.

    Args:
        d_model: D.

    Example:
        >>> [m.kind for m in sma_all(vocab_size=256, d_model=64, n_layers=2).blocks[0].branches[1].modules]
        ['gau', 'feed_forward', 'convolution']
    """
    routed = SMASpec(
        router=chosen.spec(LatentConfiguratorSpec),
        modules=(
            chosen.spec(GAUSpec, bidirectional=chosen.bidirectional),
            FeedForwardSpec(d_hidden=2 * d_model, gated=True, activation="silu", bias=False),
            ConvolutionSpec(kernel_size=4, activation="silu"),
        ),
    )
    mixer = chosen.spec(EMASpec, bidirectional=chosen.bidirectional)
    return (ResidualSpec(repeat=chosen.n_layers, mixer=mixer, branches=(LinearSpec(), routed)),)
