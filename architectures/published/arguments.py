"""The command lines of the published training code: its flags, and the defaults of its architectures.

Facts of the argument parsers of https://github.com/renll/SeqBoat (commit 5a34aed, MIT): a flag that is not
given takes the default of the parser where it has one, else that of the architecture, else that of the
architecture's family.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any


class Arguments(dict[str, Any]):
    """Published arguments by name. A missing one is an error that names it."""

    def __missing__(self, name: str) -> Any:
        raise ValueError(
            f"the published arguments lack {name!r}, which has no default there; add it to the configuration"
        )


def _flags(types: Mapping[type, str]) -> dict[str, type]:
    """The type of each flag, of the names of flags by type."""
    return {name: value for value, names in types.items() for name in names.split()}


_LAYER_FLAGS = _flags(
    {
        float: "dropout attention_dropout init_temp_scale",
        int: "truncation_length",
        bool: "feature_dropout local_pos normalize_embedding",
        str: "activation_fn attention_activation_fn rel_pos_bias",
    }
)
_CLASSIFIER_FLAGS = _LAYER_FLAGS | _flags(
    {
        float: "act_dropout act_bias",
        int: (
            "encoder_hidden_dim encoder_ffn_embed_dim z_dim n_dim encoder_layers encoder_embed_dim "
            "max_positions sentence_class_num chunk_size"
        ),
        bool: "encoder_normalize_before always_act",
        str: "classifier_activation_fn layer_type norm_type sen_rep_type",
    }
)
_FLAGS = {
    "fairseq_lra": _CLASSIFIER_FLAGS | _flags({str: "input_type", bool: "use_p use_nli add_apos"}),
    "fairseq_sc": _CLASSIFIER_FLAGS,
    "fairseq_lm": _LAYER_FLAGS
    | _flags(
        {
            float: "hidden_dropout activation_dropout",
            int: (
                "decoder_embed_dim decoder_hidden_dim decoder_z_dim decoder_n_dim decoder_ffn_embed_dim "
                "decoder_chunk_size decoder_layers decoder_input_dim max_target_positions"
            ),
            bool: (
                "share_decoder_input_output_embed adaptive_input normalize_before no_affine_final_norm "
                "no_scale_embedding"
            ),
            str: "adaptive_softmax_cutoff normalization_type",
        }
    ),
}

_SWITCHES = {name: False for flags in _FLAGS.values() for name, kind in flags.items() if kind is bool}

_SHARED: dict[str, Any] = {**_SWITCHES, "rel_pos_bias": "simple", "init_temp_scale": 0.3}
_CLASSIFIER: dict[str, Any] = {
    **_SHARED,
    "act_dropout": 0.0,
    "act_bias": 0.0,
    "classifier_activation_fn": "gelu",
    "classifier_layers": 1,
    "encoder_layers": 6,
}

_BASE: dict[str, dict[str, Any]] = {
    "fairseq_lra": {
        **_CLASSIFIER,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_fn": "gelu",
        "attention_activation_fn": "relu2",
        "classifier_out_dim": 2048,
        "sentence_class_num": 2,
        "encoder_hidden_dim": 2048,
        "encoder_embed_dim": 512,
        "z_dim": 128,
        "n_dim": 2,
        "chunk_size": -1,
        "truncation_length": None,
        "layer_type": "transformer",
    },
    "fairseq_sc": {
        **_CLASSIFIER,
        "encoder_normalize_before": True,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_fn": "silu",
        "attention_activation_fn": "laplace",
        "sentence_class_num": 10,
        "encoder_hidden_dim": 120,
        "encoder_embed_dim": 60,
        "z_dim": 30,
        "n_dim": 16,
        "norm_type": "batchnorm",
        "chunk_size": 1000,
        "truncation_length": 1000,
        "max_positions": 16000,
        "sen_rep_type": "mp",
        "layer_type": "mega",
    },
    "fairseq_lm": {
        **_SHARED,
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "activation_dropout": 0.0,
        "activation_fn": "silu",
        "attention_activation_fn": "softmax",
        "normalization_type": "layernorm",
        "adaptive_softmax_cutoff": None,
        "decoder_embed_dim": 512,
        "decoder_hidden_dim": 1664,
        "decoder_z_dim": 128,
        "decoder_n_dim": 16,
        "decoder_layers": 6,
        "decoder_chunk_size": -1,
        "truncation_length": 2048,
        "max_target_positions": 1024,
    },
}


def _lra(d_model: int, n_layers: int, max_positions: int, d_qk: int = 64, **more: Any) -> dict[str, Any]:
    """The defaults that the classifiers of the Long Range Arena share, twice `d_model` wide inside."""
    return {
        "layer_type": "slag",
        "encoder_embed_dim": d_model,
        "encoder_hidden_dim": 2 * d_model,
        "classifier_out_dim": 2 * d_model,
        "encoder_layers": n_layers,
        "z_dim": d_qk,
        "n_dim": 16,
        "activation_fn": "silu",
        "truncation_length": 1024,
        "max_positions": max_positions,
        "sen_rep_type": "mp",
        **more,
    }


def _lm(d_model: int, d_hidden: int, n_layers: int, **more: Any) -> dict[str, Any]:
    return {
        "decoder_embed_dim": d_model,
        "decoder_hidden_dim": d_hidden,
        "decoder_ffn_embed_dim": d_hidden,
        "decoder_layers": n_layers,
        **more,
    }


# refused by the importer, so that nothing else matters
_ADAPTIVE: dict[str, Any] = {"adaptive_input": True, "adaptive_softmax_cutoff": "20000,60000"}
_BATCH: dict[str, Any] = {"norm_type": "batchnorm"}
_SCALE: dict[str, Any] = {"norm_type": "scalenorm"}

_ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "slag_lra_listop": ("fairseq_lra", _lra(80, 6, 2002, sentence_class_num=10, **_SCALE)),
    "slag_lra_listop_base": ("fairseq_lra", _lra(128, 6, 2002, sentence_class_num=10, **_SCALE)),
    "slag_lra_imdb": ("fairseq_lra", _lra(128, 4, 4002, **_SCALE)),
    "slag_lra_aan": ("fairseq_lra", _lra(128, 6, 4002)),
    "slag_lra_cifar10": (
        "fairseq_lra",
        _lra(160, 8, 1024, 96, sentence_class_num=10, chunk_size=1024, **_BATCH),
    ),
    "slag_lra_pf32": ("fairseq_lra", _lra(128, 6, 1024, chunk_size=1024, **_BATCH)),
    "slag_lra_pf128": (
        "fairseq_lra",
        {**_lra(64, 4, 128**2, 32, chunk_size=128**2, **_BATCH), "truncation_length": 4096},
    ),
    "slag_lra_pf128_base": (
        "fairseq_lra",
        {**_lra(128, 6, 128**2, chunk_size=128**2, **_BATCH), "truncation_length": 128**2},
    ),
    "slag_sc_raw_base": ("fairseq_sc", {"layer_type": "slag", "encoder_layers": 8}),
    "sc_raw": ("fairseq_sc", {}),
    "mega_sc_raw": ("fairseq_sc", {}),
    "mega_sc_raw_base": ("fairseq_sc", {}),
    "mega_sc_raw_big": (
        "fairseq_sc",
        {"encoder_embed_dim": 72, "encoder_hidden_dim": 144, "z_dim": 36},
    ),
    "slag_lm": ("fairseq_lm", {}),
    "slag_lm_big": ("fairseq_lm", _lm(1024, 2048, 16, decoder_z_dim=256)),
    "slag_lm_wiki103": ("fairseq_lm", _ADAPTIVE),
    "slag_lm_adaptive_big": ("fairseq_lm", _ADAPTIVE),
    "slag_lm_adaptive_base": ("fairseq_lm", _ADAPTIVE),
    "slag_lm_enwik8_base": ("fairseq_lm", _lm(512, 1024, 12)),
    "slag_lm_enwik8_base_v2": ("fairseq_lm", _lm(616, 1232, 14)),
    "slag_lm_enwik8_large": ("fairseq_lm", _lm(512, 1024, 20)),
}


_UNFLAGGED = dict.fromkeys(("classifier_layers", "classifier_in_dim", "classifier_out_dim"), int)
_MAY_BE_NONE = ("truncation_length", "adaptive_softmax_cutoff", "max_target_positions")
_LARGEST = {
    "encoder_embed_dim": 2**24,
    "decoder_embed_dim": 2**24,
    "encoder_layers": 4096,
    "decoder_layers": 4096,
}


def kind_of(architecture: str) -> str:
    """The kind of model (`fairseq_lra`, `fairseq_sc` or `fairseq_lm`) that an architecture's name stands for.

    Raises:
        ValueError: if it is not one of SeqBoat's.
    """
    if architecture not in _ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {architecture!r}; SeqBoat's are {', '.join(_ARCHITECTURES)}. Its "
            "encoder-decoder for translation has cross-attention, which this project has not"
        )
    return _ARCHITECTURES[architecture][0]


def parse(kind: str, argv: Sequence[str]) -> Arguments:
    """The model's arguments in a command line; those of the task, the optimizer and so on are skipped.

    Args:
        kind: `fairseq_lra`, `fairseq_sc` or `fairseq_lm`.
        argv: words of the command line, the program's name left out.

    Raises:
        ValueError: if a flag's value has the wrong type, or the architecture is not one of that kind.

    Example:
        >>> parse("fairseq_lra", ["-a", "slag_lra_imdb", "--chunk-size", "128"])["encoder_embed_dim"]
        128
    """
    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("-a", "--arch")
    for name, value in _FLAGS[kind].items():
        flag = "--" + name.replace("_", "-")
        if value is bool:
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=value)
    try:
        given, _ = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ValueError(f"the published command line is wrong: {error}") from error
    return complete(kind, vars(given))


def complete(kind: str, given: Mapping[str, Any]) -> Arguments:
    """Arguments with the published defaults for those that are not given.

    Args:
        kind: `fairseq_lra`, `fairseq_sc` or `fairseq_lm`.
        given: arguments by name, `arch` among them, such as a checkpoint's namespace holds.

    Raises:
        ValueError: if the architecture is not one of that kind, or an argument has the wrong type.
    """
    architecture = str(given.get("arch", ""))
    if kind_of(architecture) != kind:
        raise ValueError(f"architecture {architecture!r} is of kind {kind_of(architecture)!r}, not {kind!r}")
    _check_types(kind, given)
    values = Arguments({**_BASE[kind], **_ARCHITECTURES[architecture][1], **given})
    if kind == "fairseq_lm":
        values["max_target_positions"] = values["max_target_positions"] or 1024
        values.setdefault("decoder_ffn_embed_dim", values["decoder_hidden_dim"])
        values.setdefault("decoder_input_dim", values["decoder_embed_dim"])
        return values
    d_model = values["encoder_embed_dim"]
    values.setdefault("encoder_ffn_embed_dim", values["encoder_hidden_dim"])
    values.setdefault("classifier_out_dim", 2 * d_model)
    n_features = (4 if values["use_nli"] else 2) if architecture == "slag_lra_aan" else 1
    values.setdefault("classifier_in_dim", n_features * d_model)
    return values


def _check_types(kind: str, given: Mapping[str, Any]) -> None:
    """Raise ValueError unless arguments are of the types that the published parsers give them."""
    for name, wanted in {**_FLAGS[kind], **_UNFLAGGED}.items():
        value = given.get(name)
        if name not in given or (value is None and name in _MAY_BE_NONE):
            continue
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ValueError(
                f"the published argument {name} is {value!r:.80}, but must be of type {wanted.__name__}"
            )
        largest = _LARGEST.get(name)
        if largest is not None and not 1 <= given[name] <= largest:
            raise ValueError(f"the published argument {name} is {value}, but must be from 1 to {largest}")
