"""Presets: functions that return specs."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from typing_extensions import Unpack

from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.models.embeddings import FeaturesSpec, TokensSpec
from sma.architectures.models.heads import ClassifierSpec, LanguageModelSpec
from sma.architectures.models.sequence import SequenceModelSpec
from sma.architectures.specs.attention import GAUSpec, RotarySpec
from sma.architectures.specs.families import EmbeddingSpec, HeadSpec, NormSpec, PositionSpec
from sma.architectures.specs.feed_forward import LinearSpec
from sma.architectures.specs.norms import LayerNormSpec
from sma.architectures.specs.routers import LatentConfiguratorSpec
from sma.architectures.specs.sma import SMASpec
from sma.architectures.specs.ssm import EMASpec


class SeqBoatOptions(TypedDict, total=False):
    """What can be chosen in a SeqBoat layer, beside its width; see `seqboat_block`."""

    d_qk: int
    d_hidden: int | None
    window: int | None
    d_state: int
    truncation: int | None
    bidirectional: bool
    attention: Literal["softmax", "relu2", "laplace"]
    position: PositionSpec
    norm: NormSpec
    norm_position: Literal["pre", "post"]
    init_temperature_scale: float
    dropout: float


def check_options(options: Mapping[str, Any], known: type) -> None:
    """Raise TypeError for an option that `known`, a TypedDict, lacks: at run time it takes any name."""
    for name in options:
        if name not in known.__annotations__:
            raise TypeError(f"there is no option {name!r}; options: {', '.join(known.__annotations__)}")


def seqboat_block(*, n_layers: int = 1, **options: Unpack[SeqBoatOptions]) -> ResidualSpec:
    """SeqBoat's layer (Fig. 2 of https://arxiv.org/abs/2306.11197), `n_layers` times.

    Dropout stands where the published code has it: on the SSM's result, and on the GAU's (bidirectional) or
    on the sum of both branches (causal).

    Args:
        n_layers: how many of them.
        **options: `d_qk` (64), `d_hidden` (twice the model's width), `window` (128, None for all),
            `attention` (softmax) and `position` (rotary) of the GAU; `d_state` (16) and `truncation` (None)
            of the SSM; `norm` (layer norm), `norm_position` (pre), `init_temperature_scale` (1.0), `dropout`
            (0) and `bidirectional` (False).

    Raises:
        TypeError: for any other option.
    """
    check_options(options, SeqBoatOptions)
    bidirectional = options.get("bidirectional", False)
    dropout = options.get("dropout", 0.0)
    gau = GAUSpec(
        d_qk=options.get("d_qk", 64),
        d_hidden=options.get("d_hidden"),
        window=options.get("window", 128),
        bidirectional=bidirectional,
        attention=options.get("attention", "softmax"),
        position=options.get("position", RotarySpec()),
        output_dropout=dropout if bidirectional else 0.0,
    )
    router = LatentConfiguratorSpec(init_temperature_scale=options.get("init_temperature_scale", 1.0))
    return ResidualSpec(
        repeat=n_layers,
        norm=options.get("norm", LayerNormSpec()),
        norm_position=options.get("norm_position", "pre"),
        mixer=EMASpec(
            d_state=options.get("d_state", 16),
            bidirectional=bidirectional,
            truncation=options.get("truncation"),
        ),
        branches=(LinearSpec(), SMASpec(router=router, modules=(gau,))),
        mixer_dropout=dropout,
        dropout=0.0 if bidirectional else dropout,
    )


def seqboat(
    *,
    d_model: int,
    n_layers: int,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    **options: Unpack[SeqBoatOptions],
) -> SequenceModelSpec:
    """SeqBoat (https://arxiv.org/abs/2306.11197): a causal language model, or a bidirectional classifier.

    Args:
        d_model: D.
        n_layers: depth.
        vocab_size: of token inputs.
        d_input: width of feature inputs, where there is no `vocab_size`.
        n_classes: of a classifier with mean pooling; None for a language model with tied embedding.
        **options: of each layer, see `seqboat_block`; `bidirectional` is True for a classifier.

    Returns:
        A spec; `.build()` makes the model.

    Raises:
        ValueError: unless exactly one of `vocab_size` and `d_input` is given.

    Example:
        >>> seqboat(vocab_size=256, d_model=64, n_layers=4, window=32).head.kind
        'language_model'
        >>> seqboat(d_input=1, n_classes=10, d_model=64, n_layers=4).head.kind
        'classifier'
    """
    directed: SeqBoatOptions = {"bidirectional": n_classes is not None, **options}
    return sequence_model(
        d_model=d_model,
        blocks=(seqboat_block(n_layers=n_layers, **directed),),
        vocab_size=vocab_size,
        d_input=d_input,
        n_classes=n_classes,
        norm=options.get("norm", LayerNormSpec()) if options.get("norm_position") != "post" else None,
        dropout=options.get("dropout", 0.0),
    )


def sequence_model(
    *,
    d_model: int,
    blocks: tuple[Any, ...],
    vocab_size: int | None,
    d_input: int | None,
    n_classes: int | None,
    norm: NormSpec | None,
    dropout: float = 0.0,
) -> SequenceModelSpec:
    """A stack between the embedding and the head that fit the task; arguments as in `seqboat`."""
    if (vocab_size is None) == (d_input is None):
        raise ValueError(
            f"give either vocab_size (tokens) or d_input (features), got vocab_size={vocab_size} and "
            f"d_input={d_input}"
        )
    embedding: EmbeddingSpec
    head: HeadSpec
    if vocab_size is not None:
        embedding = TokensSpec(vocab_size=vocab_size, scale=n_classes is None, dropout=dropout)
    else:
        embedding = FeaturesSpec(d_input=d_input, dropout=dropout)
    head = LanguageModelSpec() if n_classes is None else ClassifierSpec(n_classes=n_classes)
    return SequenceModelSpec(d_model=d_model, embedding=embedding, blocks=blocks, norm=norm, head=head)
