"""The published models as specs of this project, and where their weights go."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sma.architectures.models.embeddings import FeaturesSpec, ScalarsSpec, TokensSpec
from sma.architectures.models.heads import ClassifierSpec, LanguageModelSpec
from sma.architectures.models.sequence import SequenceModelSpec
from sma.architectures.published import parts
from sma.architectures.published.parts import Import, Rule
from sma.architectures.specs.families import BlockSpec, EmbeddingSpec, HeadSpec, NormSpec

Model = Import[SequenceModelSpec]


def standalone(options: Mapping[str, Any]) -> Model:
    """The `SeqBoatModel` of the standalone file; `options` are all of its arguments."""
    d_model, kind, prenorm = options["d_model"], options["norm_type"], options["prenorm"]
    layer = parts.seqboat(
        {
            **parts.UNIT,
            "embed_dim": d_model,
            "zdim": options["d_qk"],
            "hdim": 2 * d_model,
            "ndim": options["d_ema"],
            "chunk_size": options["mem_size"],
            **{name: options[name] for name in _SHARED},
        },
        ssm="ssm",
    )
    return _model(
        d_model,
        embedding=Import(
            FeaturesSpec(d_input=options["d_input"]),
            tuple(Rule(f"encoder.{name}", f"linear.{name}") for name in ("weight", "bias")),
        ),
        layers=[("seq_layers.{}.", [("", layer)])] * options["n_layers"],
        norm=("final_norm.", parts.norm(kind)) if prenorm else None,
        head=Import(
            ClassifierSpec(n_classes=options["d_output"]),
            tuple(Rule(f"decoder.{name}", f"output.{name}") for name in ("weight", "bias")),
        ),
    )


_SHARED = (
    "attention_activation",
    "bidirectional",
    "dropout",
    "init_temp_scale",
    "max_positions",
    "norm_type",
    "prenorm",
    "rel_pos_bias",
)


def classifier(values: Mapping[str, Any], *, audio: bool, vocab_size: int | None) -> Model:
    """The fairseq models for the Long Range Arena and for raw speech."""
    _check_classifier(values, audio)
    d_model, dropout = values["encoder_embed_dim"], values["dropout"]
    prenorm, norm_type = values["encoder_normalize_before"], values["norm_type"]
    unit = {
        "embed_dim": d_model,
        "zdim": values["z_dim"],
        "hdim": values["encoder_hidden_dim"],
        "ndim": values["n_dim"],
        "hidden_dropout": values["act_dropout"],
        "chunk_size": values["chunk_size"],
        "bidirectional": True,
        "norm_type": norm_type,
        "prenorm": prenorm,
        "max_positions": values["max_positions"],
        "always_act": values["always_act"],
    }
    embed_norm = parts.norm(norm_type) if values["normalize_embedding"] and not audio else None
    options: dict[str, Any] = {
        "sinusoid": audio or values["add_apos"],
        "dropout": dropout,
        "norm": None if embed_norm is None else embed_norm.spec,
    }
    rules: tuple[Rule, ...]
    spec: EmbeddingSpec
    if vocab_size is None:
        spec = ScalarsSpec(**options)
        rules = tuple(Rule(f"embed_tokens.{name}", name) for name in ("weight", "bias"))
    else:
        spec = TokensSpec(vocab_size=vocab_size, **options)
        rules = (Rule("embed_tokens.embed.weight", "weight"),)
    if options["sinusoid"]:
        rules += (Rule("pos_emb.scale", "sinusoid.scale"), Rule("pos_emb.inv_freq", "", _check_frequencies))
    embedding = Import(spec, (*rules, *_embed_norm(embed_norm)))
    return _model(
        d_model,
        embedding=Import(spec, embedding.under("encoder.encoder.", "")),
        layers=[("encoder.encoder.layers.{}.", _layer(values, unit, "mega_layer."))]
        * values["encoder_layers"],
        norm=("encoder.encoder.final_norm.", parts.norm(norm_type)) if prenorm else None,
        head=_classifier_head(values),
    )


def language_model(values: Mapping[str, Any], *, vocab_size: int) -> Model:
    """The fairseq language model; see `check_language_model`."""
    d_model, prenorm = values["decoder_embed_dim"], values["normalize_before"]
    norm_type, tied = values["normalization_type"], values["share_decoder_input_output_embed"]
    unit = {
        "embed_dim": d_model,
        "zdim": values["decoder_z_dim"],
        "hdim": values["decoder_hidden_dim"],
        "ndim": values["decoder_n_dim"],
        "hidden_dropout": values["hidden_dropout"],
        "chunk_size": values["decoder_chunk_size"],
        "bidirectional": False,
        "norm_type": norm_type,
        "prenorm": prenorm,
        "max_positions": values["max_target_positions"],
    }
    embed_norm = parts.norm(norm_type) if values["normalize_embedding"] else None
    spec = TokensSpec(
        vocab_size=vocab_size,
        scale=not values["no_scale_embedding"],
        dropout=values["dropout"],
        norm=None if embed_norm is None else embed_norm.spec,
    )
    output = "embedding.weight" if tied else "head.output.weight"
    affine = not values["no_affine_final_norm"]
    return _model(
        d_model,
        embedding=Import(
            spec,
            (
                Rule("decoder.embed_tokens.weight", "weight"),
                *(rule.under("decoder.", "") for rule in _embed_norm(embed_norm)),
            ),
        ),
        layers=[("decoder.layers.{}.", _layer(values, unit, "slag_layer."))] * values["decoder_layers"],
        norm=("decoder.final_norm.", parts.norm(norm_type, affine=affine)) if prenorm else None,
        head=Import(LanguageModelSpec(tie_embedding=tied), ()),
        more=(Rule("decoder.output_projection.weight", output), Rule("decoder.version", "")),
    )


def _layer(
    values: Mapping[str, Any], unit: Mapping[str, Any], name: str
) -> list[tuple[str, Import[BlockSpec]]]:
    """The blocks of one fairseq layer, each with the published name of its module."""
    options = {
        **parts.UNIT,
        "dropout": values["dropout"],
        "attention_dropout": values["attention_dropout"],
        "activation": values["activation_fn"],
        "attention_activation": values["attention_activation_fn"],
        "truncation": values["truncation_length"],
        "rel_pos_bias": values["rel_pos_bias"],
        "init_temp_scale": values["init_temp_scale"],
        "local_pos": values["local_pos"],
        "feature_dropout": values["feature_dropout"],
        **unit,
    }
    blocks = [(name, parts.seqboat(options, ssm="move"))]
    decoder = "decoder_ffn_embed_dim" in values
    d_hidden = values["decoder_ffn_embed_dim" if decoder else "encoder_ffn_embed_dim"]
    if d_hidden > 0:
        hidden_dropout = values["activation_dropout" if decoder else "act_dropout"]
        blocks.append(("nffn.", parts.feed_forward(options, d_hidden, hidden_dropout)))
    return blocks


def _model(
    d_model: int,
    *,
    embedding: Import[EmbeddingSpec],
    layers: list[tuple[str, list[tuple[str, Import[BlockSpec]]]]],
    norm: tuple[str, Import[NormSpec]] | None,
    head: Import[HeadSpec],
    more: tuple[Rule, ...] = (),
) -> Model:
    blocks = [
        (pattern.format(i) + name, block)
        for i, (pattern, layer) in enumerate(layers)
        for name, block in layer
    ]
    specs: tuple[BlockSpec, ...] = tuple(block.spec for _, block in blocks)
    if layers and len(layers[0][1]) == 1:  # all the same
        specs = (specs[0].model_copy(update={"repeat": len(layers)}),)
    spec = SequenceModelSpec(
        d_model=d_model,
        embedding=embedding.spec,
        blocks=specs,
        norm=None if norm is None else norm[1].spec,
        head=head.spec,
    )
    rules = (
        *embedding.under("", "embedding."),
        *(rule for i, (name, block) in enumerate(blocks) for rule in block.under(name, f"blocks.{i}.")),
        *(() if norm is None else norm[1].under(norm[0], "norm.")),
        *head.under("", "head."),
        *more,
    )
    return Import(spec, rules)


def _check_frequencies(published: Tensor) -> Tensor:
    """The published model stores the frequencies of its sinusoids; here they are computed."""
    n = len(published)
    expected = 10000.0 ** (-torch.arange(n, dtype=torch.float64, device=published.device) / n)
    if not torch.allclose(published.double(), expected, rtol=1e-3 if published.dtype.itemsize < 4 else 1e-5):
        raise ValueError(f"holds frequencies other than 10000^(-i/{n}), which are the only ones here")
    return published


def _embed_norm(norm: Import[NormSpec] | None) -> Iterator[Rule]:
    return iter(()) if norm is None else iter(norm.under("embed_norm.", "norm."))


def _classifier_head(values: Mapping[str, Any]) -> Import[HeadSpec]:
    d_model, d_hidden, n_layers = (
        values["encoder_embed_dim"],
        values["classifier_out_dim"],
        values["classifier_layers"],
    )
    n_features, rest = divmod(values["classifier_in_dim"], d_model)
    if rest or n_features not in (1, 2, 4):
        raise ValueError(
            f"classifier_in_dim {values['classifier_in_dim']} is not 1, 2 or 4 times encoder_embed_dim "
            f"{d_model}"
        )
    spec = ClassifierSpec(
        n_classes=values["sentence_class_num"],
        n_documents=1 if n_features == 1 else 2,
        interactions=n_features != 2,
        pooling={"mp": "mean", "cls": "first"}[values["sen_rep_type"]],
        d_hidden=d_hidden if n_layers else None,
        activation=parts.activation_name(values["classifier_activation_fn"]),
        bias=False,
        dropout=values["dropout"],
    )
    hidden = [Rule(f"classifier.0.0.{name}", f"hidden.0.{name}") for name in ("weight", "bias")]
    return Import(
        spec, (*(hidden if n_layers else ()), Rule("sentence_projection_layer.weight", "output.weight"))
    )


def _check_classifier(values: Mapping[str, Any], audio: bool) -> None:
    if values["layer_type"] != "slag":
        raise ValueError(
            f"layer_type {values['layer_type']!r} is not SeqBoat's, which is published as 'slag'"
        )
    if values.get("use_p"):
        raise ValueError("use_p averages the features of the second row of the batch; that is not a model")
    if values["classifier_layers"] > 1:
        raise ValueError(
            f"classifier_layers {values['classifier_layers']}: only 0 and 1 hidden layers exist here"
        )
    if values["sen_rep_type"] not in ("mp", "cls"):
        raise ValueError(f"unknown sen_rep_type {values['sen_rep_type']!r}; known: mp, cls")
    if audio and values["sen_rep_type"] != "mp":
        raise ValueError("sen_rep_type cls is refused by the published audio model; it needs mp")


def check_language_model(values: Mapping[str, Any]) -> None:
    """Raise ValueError if a language model has a part that this project has not."""
    if values["adaptive_input"] or values["adaptive_softmax_cutoff"] is not None:
        raise ValueError(
            "adaptive_input and adaptive_softmax_cutoff (clustered vocabularies) do not exist here"
        )
    if values["decoder_input_dim"] != values["decoder_embed_dim"]:
        raise ValueError(
            f"decoder_input_dim {values['decoder_input_dim']} differs from decoder_embed_dim "
            f"{values['decoder_embed_dim']}: embeddings here have the model's width"
        )
