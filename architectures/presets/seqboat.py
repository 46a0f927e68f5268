"""SeqBoat, what it is compared with that has its parts, and its layer as one module."""

from typing import Any

from sma.architectures.blocks.residual import Residual, ResidualSpec
from sma.architectures.presets.preset import Blocks, Borrowed, Chosen, preset
from sma.architectures.specs.attention import GAUSpec
from sma.architectures.specs.feed_forward import LinearSpec
from sma.architectures.specs.fields import Dropout
from sma.architectures.specs.routers import AlwaysActiveSpec, LatentConfiguratorSpec
from sma.architectures.specs.sma import SMASpec
from sma.architectures.specs.ssm import EMASpec

LAYER: Borrowed = {EMASpec: "d_state truncation", ResidualSpec: "norm norm_position"}
ATTENTION: Borrowed = {**LAYER, GAUSpec: "d_qk d_hidden window attention position"}
SEQBOAT: Borrowed = {**ATTENTION, LatentConfiguratorSpec: "init_temperature_scale"}


@preset(SEQBOAT)
def seqboat(chosen: Chosen, *, dropout: Dropout = 0.0) -> Blocks:
    """SeqBoat (https://arxiv.org/abs/2306.11197): a causal language model, or a bidirectional classifier.

    Dropout is placed as in the published code: on the SSM's result, and on the GAU's (bidirectional) or
    on the sum of both branches (causal).

    Example:
        >>> seqboat(vocab_size=256, d_model=64, n_layers=4, window=32).head.kind
        'language_model'
        >>> seqboat(d_input=1, n_classes=10, d_model=64, n_layers=4).head.kind
        'classifier'
    """
    return (seqboat_layer(chosen, dropout),)


@preset(SEQBOAT)
def seqboat_full(chosen: Chosen, *, dropout: Dropout = 0.0) -> Blocks:
    """SeqBoat without a window: an activated element attends to all activated ones of its row.

    Quadratic in the number of activated elements, and without step-by-step decoding.

    Raises:
        ValueError: if `window` is given.

    Example:
        >>> seqboat_full(vocab_size=256, d_model=64, n_layers=4).blocks[0].branches[1].modules[0].window
    """
    if chosen.fields.get("window") is not None:
        raise ValueError(f"seqboat_full has no window, got window={chosen.fields['window']}; use seqboat")
    return (seqboat_layer(chosen, dropout, window=None),)


@preset(ATTENTION)
def gau_always(chosen: Chosen, *, dropout: Dropout = 0.0) -> Blocks:
    """SeqBoat without a router: every element activates the GAU, with confidence 1.

    Example:
        >>> gau_always(vocab_size=256, d_model=64, n_layers=4).blocks[0].branches[1].router.kind
        'always'
    """
    return (seqboat_layer(chosen, dropout, router=AlwaysActiveSpec()),)


@preset(LAYER)
def ssm_only(chosen: Chosen, *, dropout: Dropout = 0.0) -> Blocks:
    """SeqBoat without attention: what the moving averages and the linear branch do alone.

    Example:
        >>> len(ssm_only(vocab_size=256, d_model=64, n_layers=4).blocks[0].branches)
        1
    """
    return (_layer(chosen, dropout, branches=(LinearSpec(),)),)


def seqboat_block(**options: Any) -> ResidualSpec:
    """SeqBoat's layer (Fig. 2 of https://arxiv.org/abs/2306.11197), `n_layers` times (once by default).

    Args:
        **options: those of `seqboat` but for its ends and width; causal unless `bidirectional` is True.

    Example:
        >>> seqboat_block(window=32, n_layers=3).repeat
        3
    """
    (block,) = seqboat.blocks(**options)
    assert isinstance(block, ResidualSpec)
    return block


class SeqBoat(Residual):
    r"""One SeqBoat layer: an SSM decides which elements a gated attention unit attends to.

    $$ H = \text{SiLU}(\text{EMA}(\text{norm}(X))), \qquad
       Y = \text{SiLU}(X + \text{Linear}(H) + \text{SMA}(H; \text{GAU})) $$

    (Fig. 2 of https://arxiv.org/abs/2306.11197.) Time and memory are linear in L. It is what
    `seqboat_block(**options)` builds; compose your own from specs where you need more freedom.

    Args:
        d_model: D.
        **options: see `seqboat_block`.

    Raises:
        ValueError: if an option has a wrong value, or `n_layers` is not 1.
        TypeError: if there is no such option.

    Example:
        >>> import torch
        >>> layer = SeqBoat(32, window=8, bidirectional=True)
        >>> layer(torch.randn(2, 20, 32)).shape
        torch.Size([2, 20, 32])
    """

    def __init__(self, d_model: int, **options: Any) -> None:
        spec = seqboat_block(**options)
        if spec.repeat != 1:
            raise ValueError(f"SeqBoat is one layer, got n_layers={spec.repeat}; build a stack of several")
        super().__init__(**spec.arguments(d_model))
        self.spec = spec


def seqboat_layer(chosen: Chosen, dropout: float, *, router: Any = None, **gau: Any) -> ResidualSpec:
    """The layer with an SMA branch; the given router, or else a latent configurator."""
    gau["bidirectional"] = chosen.bidirectional
    if chosen.bidirectional:
        gau["output_dropout"] = dropout
    routed = SMASpec(
        router=chosen.spec(LatentConfiguratorSpec) if router is None else router,
        modules=(chosen.spec(GAUSpec, **gau),),
    )
    return _layer(chosen, dropout, branches=(LinearSpec(), routed))


def _layer(chosen: Chosen, dropout: float, *, branches: tuple[Any, ...]) -> ResidualSpec:
    return chosen.spec(
        ResidualSpec,
        repeat=chosen.n_layers,
        mixer=chosen.spec(EMASpec, bidirectional=chosen.bidirectional),
        branches=branches,
        mixer_dropout=dropout,
        dropout=0.0 if chosen.bidirectional else dropout,
    )
