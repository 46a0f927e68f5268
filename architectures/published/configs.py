"""The configurations of published layers and models: which arguments they have, and what these default to."""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sma.architectures.models.sequence import SequenceModelSpec
from sma.architectures.published import arguments as fairseq_arguments
from sma.architectures.published import models as reference_models
from sma.architectures.published import parts as reference_parts
from sma.architectures.published.arguments import Arguments
from sma.architectures.published.parts import Import

Config = Mapping[str, Any]

LAYERS = ("standalone_layer", "fairseq_unit", "standalone_ema", "standalone_ema_steps")
MODELS = ("standalone_model", "fairseq_lra", "fairseq_sc", "fairseq_lm")

_EMA = {"ndim": 2, "bidirectional": False, "truncation": None}
_ONLY_FAIRSEQ = ("chunk_size", "activation", "feature_dropout", "always_act")
_STANDALONE_LAYER = {
    **{name: value for name, value in reference_parts.UNIT.items() if name not in _ONLY_FAIRSEQ},
    "init_temp_scale": 1.0,
    "window_size": 256,
}
_STANDALONE_MODEL = {
    "d_output": 10,
    "d_model": 512,
    "n_layers": 6,
    "dropout": 0.1,
    "prenorm": False,
    "max_positions": 1024,
    "d_qk": 96,
    "d_ema": 16,
    "mem_size": 128,
    "bidirectional": True,
    "init_temp_scale": 1.0,
    "norm_type": "batchnorm",
    "rel_pos_bias": "simple",
    "attention_activation": "relu2",
}
_STANDALONE_CHOICES = {
    "attention_activation": ("softmax", "relu2"),
    "rel_pos_bias": ("simple", "rotary"),
    "norm_type": ("layernorm", "batchnorm"),
}
_WITHOUT_EFFECT = ("export", "density_threshold", "max_steps", "truc_norm")  # on what is computed


def layer(config: Config) -> Import[Any]:
    """A published layer.

    Raises:
        ValueError: if the kind or an argument is unknown, or a value has no counterpart here.
    """
    kind, given = config["kind"], config["ctor"]
    if kind in ("standalone_ema", "standalone_ema_steps"):
        return reference_parts.ema(_complete(given, _EMA, required=("embed_dim",)))
    sizes = ("embed_dim", "zdim", "hdim", "ndim")
    if kind == "standalone_layer":
        options = _complete(given, _STANDALONE_LAYER, required=sizes)
        _check_standalone(options, window=options["window_size"])
        unit = {**reference_parts.UNIT, **options, "chunk_size": options["window_size"]}
        return reference_parts.seqboat(unit, ssm="ssm")
    if kind == "fairseq_unit":
        return reference_parts.seqboat(_complete(given, reference_parts.UNIT, required=sizes), ssm="move")
    raise ValueError(f"unknown kind {kind!r} of a published layer; known: {', '.join(LAYERS)}")


def model(config: Config, tensors: Mapping[str, Tensor]) -> Import[SequenceModelSpec]:
    """A published model; `tensors` say how large the vocabulary is, if `config` does not.

    Raises:
        ValueError: see `layer`.
    """
    kind, given = config["kind"], config["ctor"]
    if kind == "standalone_model":
        options = _complete(given, _STANDALONE_MODEL, required=("d_input",))
        _check_standalone(options, window=options["mem_size"])
        return reference_models.standalone(options)
    values = fairseq_values(config)
    if kind == "fairseq_lm":
        reference_models.check_language_model(values)
        vocab_size = _vocab_size(given, tensors, "decoder.embed_tokens.weight")
        return reference_models.language_model(values, vocab_size=vocab_size)
    text = kind == "fairseq_lra" and values["input_type"] == "text"
    embedding = "encoder.encoder.embed_tokens.embed.weight"
    return reference_models.classifier(
        values,
        audio=kind == "fairseq_sc",
        vocab_size=_vocab_size(given, tensors, embedding) if text else None,
    )


def fairseq_values(config: Config) -> Arguments:
    """The arguments of a fairseq model: of a command line, or as a checkpoint holds them.

    Raises:
        ValueError: if the kind of model is unknown, or an argument is.
    """
    kind, given = config["kind"], config["ctor"]
    if kind not in MODELS:
        raise ValueError(f"unknown kind {kind!r} of a published model; known: {', '.join(MODELS)}")
    if "args" in given:
        return fairseq_arguments.complete(kind, given["args"])
    values = fairseq_arguments.parse(kind, given["argv"])
    values.update(given.get("override") or {})
    return values


def activation_bias(config: Config) -> float:
    """The published `act_bias`: added to every logit for "skip"."""
    if config["kind"] not in ("fairseq_lra", "fairseq_sc"):
        return 0.0
    values = fairseq_values(config)
    return 0.0 if values["always_act"] else float(values["act_bias"])


def warn_of_feature_dropout(config: Config) -> None:
    """Warn if training here would drop other units than the published code does."""
    fairseq = config["kind"].startswith("fairseq") and config["kind"] != "fairseq_unit"
    values = fairseq_values(config) if fairseq else config["ctor"]
    rates = ("dropout", "hidden_dropout", "act_dropout")
    if values.get("feature_dropout") and any(values.get(name) for name in rates):
        warnings.warn(
            "the published feature_dropout drops whole features of a sequence in training, this project "
            "single elements; evaluation is the same",
            stacklevel=3,
        )


def _complete(
    given: Mapping[str, Any], defaults: Mapping[str, Any], *, required: tuple[str, ...]
) -> Arguments:
    unknown = given.keys() - defaults.keys() - {*required, *_WITHOUT_EFFECT}
    if unknown:
        raise ValueError(f"unknown published arguments: {', '.join(sorted(unknown))}")
    return Arguments({**defaults, **given})


def _check_standalone(options: Mapping[str, Any], *, window: int) -> None:
    for name, choices in _STANDALONE_CHOICES.items():
        if options[name] not in choices:
            raise ValueError(f"{name} {options[name]!r}: the standalone file has {' and '.join(choices)}")
    if window < 1:
        raise ValueError(f"the window must be at least 1 in the standalone file, got {window}")


def _vocab_size(given: Mapping[str, Any], tensors: Mapping[str, Tensor], embedding: str) -> int:
    if given.get("vocab") is not None:
        return int(given["vocab"])
    if embedding not in tensors:
        raise ValueError(f"the published state lacks {embedding!r}, which says how large the vocabulary is")
    return len(tensors[embedding])
