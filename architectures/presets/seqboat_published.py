"""The SeqBoat models whose results were published, as presets (https://arxiv.org/abs/2306.11197).

The values are those of the official training scripts (https://github.com/renll/SeqBoat, commit 5a34aed).
`sma.training.recipes` holds how they were trained, and docs/fidelity.md the parameter counts.
"""

from typing import Any

from sma.architectures.models.embeddings import ScalarsSpec, TokensSpec
from sma.architectures.models.heads import ClassifierSpec, LanguageModelSpec
from sma.architectures.models.sequence import SequenceModelSpec
from sma.architectures.presets.preset import Layers
from sma.architectures.presets.seqboat import seqboat_block
from sma.architectures.specs.attention import LearnedBiasSpec, RankBiasSpec, RotarySpec
from sma.architectures.specs.families import EmbeddingSpec
from sma.architectures.specs.fields import Size
from sma.architectures.specs.norms import BatchNormSpec, LayerNormSpec, ScaleNormSpec

PUBLISHED_PARAMETERS = {
    "seqboat_lra_listops": 408_676,
    "seqboat_lra_text": 633_356,
    "seqboat_lra_retrieval": 1_058_090,
    "seqboat_lra_image": 1_810_001,
    "seqboat_lra_pathfinder": 892_301,
    "seqboat_lra_path_x": 729_097,
    "seqboat_speech_commands": 298_841,
    "seqboat_enwik8": 39_074_490,
}
"""Parameters of the official models, counted by building them."""
_TOKENS: dict[str, Any] = {"dropout": 0.1, "norm_position": "post", "init_temperature_scale": 0.3}
"""What the classifiers of tokens share."""


def seqboat_lra_listops(*, vocab_size: Size = 24) -> SequenceModelSpec:
    """ListOps of the Long Range Arena: nested operations on digits, 10 classes.

    Args:
        vocab_size: of the tokens; the published dictionary is assumed to have 24.

    Example:
        >>> sum(p.numel() for p in seqboat_lra_listops().build().parameters())
        408676
    """
    return _classifier(
        d_model=80,
        n_layers=6,
        n_classes=10,
        vocab_size=vocab_size,
        norm=LayerNormSpec(),
        position=LearnedBiasSpec(max_positions=2002),
        **_TOKENS,
    )


def seqboat_lra_text(*, vocab_size: Size = 264) -> SequenceModelSpec:
    """Text of the Long Range Arena: the sentiment of reviews, byte by byte.

    Args:
        vocab_size: of the tokens; the published dictionary is assumed to have 264.

    Example:
        >>> seqboat_lra_text().blocks[0].repeat
        4
    """
    return _classifier(
        d_model=128,
        n_layers=4,
        n_classes=2,
        vocab_size=vocab_size,
        norm=ScaleNormSpec(),
        position=RankBiasSpec(),
        **_TOKENS,
    )


def seqboat_lra_retrieval(*, vocab_size: Size = 264) -> SequenceModelSpec:
    """Retrieval of the Long Range Arena: whether two papers cite each other, byte by byte.

    Args:
        vocab_size: of the tokens; the published dictionary is assumed to have 264.

    Example:
        >>> seqboat_lra_retrieval().head.n_documents
        2
    """
    return _classifier(
        d_model=128,
        n_layers=6,
        n_classes=2,
        n_documents=2,
        vocab_size=vocab_size,
        norm=ScaleNormSpec(),
        position=LearnedBiasSpec(max_positions=4002),
        **_TOKENS,
    )


def seqboat_lra_image() -> SequenceModelSpec:
    """Image of the Long Range Arena: grey CIFAR-10, pixel by pixel.

    Example:
        >>> seqboat_lra_image().d_model
        160
    """
    return _classifier(
        d_model=160,
        n_layers=8,
        n_classes=10,
        d_qk=96,
        attention="relu2",
        norm=BatchNormSpec(),
        position=LearnedBiasSpec(max_positions=1024),
        init_temperature_scale=0.4,
    )


def seqboat_lra_pathfinder() -> SequenceModelSpec:
    """Pathfinder of the Long Range Arena: whether a line joins two dots, 32 x 32 pixels.

    Example:
        >>> seqboat_lra_pathfinder().blocks[0].repeat
        6
    """
    return _classifier(
        d_model=128,
        n_layers=6,
        n_classes=2,
        attention="relu2",
        norm=BatchNormSpec(),
        position=LearnedBiasSpec(max_positions=1024),
    )


def seqboat_lra_path_x(*, n_layers: Layers = 4) -> SequenceModelSpec:
    """Path-X of the Long Range Arena: Pathfinder with 128 x 128 pixels.

    Args:
        n_layers: 4 as in the official script; 6 as in the official instructions, with 1,076,621 parameters.

    Example:
        >>> seqboat_lra_path_x(n_layers=6).blocks[0].repeat
        6
    """
    return _classifier(
        d_model=128,
        n_layers=n_layers,
        n_classes=2,
        window=256,
        truncation=16384,
        attention="relu2",
        norm=BatchNormSpec(sync=True),
        position=LearnedBiasSpec(max_positions=16384),
    )


def seqboat_speech_commands() -> SequenceModelSpec:
    """Speech Commands, ten words: raw audio of a second at 16 kHz, sample by sample.

    Example:
        >>> seqboat_speech_commands().d_model
        60
    """
    return _classifier(
        d_model=60,
        n_layers=8,
        n_classes=10,
        d_qk=30,
        truncation=4000,
        attention="relu2",
        norm=BatchNormSpec(),
        position=RankBiasSpec(),
    )


def seqboat_enwik8(*, vocab_size: Size = 208) -> SequenceModelSpec:
    """The language model of enwik8, character by character.

    Args:
        vocab_size: of the characters; the published dictionary is assumed to have 208.

    Example:
        >>> seqboat_enwik8().head.kind
        'language_model'
    """
    block = seqboat_block(
        n_layers=14,
        d_qk=128,
        d_hidden=1232,
        window=1024,
        truncation=2048,
        position=RotarySpec(),
        norm=LayerNormSpec(),
        init_temperature_scale=1.0,
        dropout=0.15,
    )
    return SequenceModelSpec(
        d_model=616,
        embedding=TokensSpec(vocab_size=vocab_size, scale=True, dropout=0.15),
        blocks=(block,),
        norm=LayerNormSpec(affine=False),
        head=LanguageModelSpec(tie_embedding=True),
    )


def _classifier(
    *,
    d_model: int,
    n_layers: int,
    n_classes: int,
    n_documents: int = 1,
    vocab_size: int | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> SequenceModelSpec:
    """A published classifier: its embedding, of tokens or of numbers with sinusoids, and its head."""
    embedding: EmbeddingSpec = ScalarsSpec(sinusoid=True, dropout=dropout)
    if vocab_size is not None:
        embedding = TokensSpec(vocab_size=vocab_size, dropout=dropout)
    layer = {"d_hidden": 2 * d_model, "truncation": 1024, **options}
    return SequenceModelSpec(
        d_model=d_model,
        embedding=embedding,
        blocks=(seqboat_block(n_layers=n_layers, bidirectional=True, dropout=dropout, **layer),),
        norm=options["norm"] if options.get("norm_position", "pre") == "pre" else None,
        head=ClassifierSpec(
            n_classes=n_classes, n_documents=n_documents, d_hidden=2 * d_model, bias=False, dropout=dropout
        ),
    )
