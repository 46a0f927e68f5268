"""Import of the published implementation's weights.

The published code is https://github.com/renll/SeqBoat (commit 5a34aed, MIT). What differs here by design is
listed in docs/fidelity.md.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sma import SequenceModule, State
from sma.architectures import fairseq_arguments, reference_models, reference_parts
from sma.architectures.families import BlockSpec, LayerSpec
from sma.architectures.reference_parts import Part, Rule
from sma.architectures.sequence_model import SequenceModel, SequenceModelSpec
from sma.modules.positions import RankBias

Tensors = Mapping[str, Tensor]

_STANDALONE = {
    **reference_parts.UNIT,
    "attention_activation": "relu2",
    "init_temp_scale": 1.0,
    "window_size": 256,
}
for _name in ("chunk_size", "activation", "feature_dropout", "always_act"):
    del _STANDALONE[_name]

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

_WITHOUT_EFFECT = ("export", "density_threshold", "max_steps")  # on the function that a unit computes

_LAYER_KINDS = ("standalone_layer", "fairseq_unit", "standalone_ema", "standalone_ema_steps")
_MODEL_KINDS = ("standalone_model", "fairseq_lra", "fairseq_sc", "fairseq_lm")


class ReferenceLayer(SequenceModule):
    """A layer with published weights, and the spec that it was built from.

    Args:
        spec: of the layer.
        module: what the spec built.
    """

    def __init__(self, spec: BlockSpec | LayerSpec, module: SequenceModule) -> None:
        super().__init__()
        self.spec = spec
        self.module = module

    @property
    def causal(self) -> bool:  # type: ignore[override]
        """Whether it does not look ahead."""
        return self.module.causal

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `SequenceModule.forward`; 0 at padding."""
        return self.module(x, mask)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """See `SequenceModule.init_state`."""
        return self.module.init_state(batch_size, device=device, dtype=dtype)

    def step(self, x: Tensor, state: State, mask: Tensor | None = None) -> Tensor:
        """See `SequenceModule.step`."""
        return self.module.step(x, state, mask)


def layer_from_reference(config: Mapping[str, Any], state: Tensors) -> ReferenceLayer:
    """A published layer, made of this project's modules.

    Args:
        config: `kind` is `standalone_layer` (the SeqBoatLayer of the standalone file), `fairseq_unit` (the
            SeqBoatUnit of the training code) or `standalone_ema` (MultiHeadEMA); `ctor` holds the arguments of
            its constructor, those left out taking the published defaults.
        state: the published layer's state dict.

    Returns:
        The layer in the state's dtype, in evaluation mode; called as `layer(x, mask=None)`, batch first.

    Raises:
        ValueError: if an argument is unknown or its value has no counterpart here, or if the state misses an
            entry, has one too many, or one of another shape; the message names it.
    """
    part = _layer(config)
    d_model = config["ctor"]["embed_dim"]
    module = _fill(lambda: part.spec.build(d_model), part.rules, state)
    return ReferenceLayer(part.spec, module).eval()  # type: ignore[arg-type]


def model_from_reference(config: Mapping[str, Any], state: Tensors) -> SequenceModel:
    """A published model, made of this project's modules.

    Args:
        config: `kind` is `standalone_model` (the SeqBoatModel of the standalone file; `ctor` holds its
            arguments), or `fairseq_lra`, `fairseq_sc`, `fairseq_lm` (classifiers, raw audio, language model of
            the training code; `ctor` holds `argv`, the words of the command line, and optionally `override`,
            arguments that it cannot set). Arguments left out take the published defaults.
        state: the published model's state dict.

    Returns:
        The model in the state's dtype, in evaluation mode; its `spec` describes it. Called as
        `model(inputs, mask=None)`, document pairs as `model((first, second), (mask, other_mask))`.

    Raises:
        ValueError: see `layer_from_reference`.
    """
    part = _model(config, state)
    return _fill(part.spec.build, part.rules, _with_activation_bias(config, state)).eval()


def weights_from_reference(config: Mapping[str, Any], tensors: Tensors) -> dict[str, Tensor]:
    """Published tensors under the names and in the shapes that they have here.

    Weights, or anything in their shapes, such as gradients; entries may be missing.

    Args:
        config: see `layer_from_reference` and `model_from_reference`.
        tensors: by published name.

    Returns:
        By the names in the module that `layer_from_reference` or `model_from_reference` returns.
    """
    if config["kind"] in _LAYER_KINDS:
        rules: tuple[Rule, ...] = tuple(rule.under("", "module.") for rule in _layer(config).rules)
    else:
        rules = _model(config, tensors).rules
    return {
        rule.target: _pick(rule, tensors[rule.source])
        for rule in reversed(rules)  # of two tied sources, the first
        if rule.target and rule.source in tensors
    }


@dataclass(frozen=True)
class PublishedCount:
    """How many parameters the published implementation of a model has.

    Attributes:
        parameters: the number there.
        here: the number here.
        reason: why they differ; empty if they do not.
    """

    parameters: int
    here: int
    reason: str


def parameters_published(spec: SequenceModelSpec) -> PublishedCount:
    """The parameters of the published implementation of a SeqBoat model, and why the number differs here.

    Args:
        spec: of parts that the published code has.

    Example:
        >>> from sma.architectures import RankBiasSpec, seqboat
        >>> spec = seqboat(vocab_size=9, d_model=8, n_layers=2, n_classes=2, window=4, position=RankBiasSpec())
        >>> count = parameters_published(spec)
        >>> count.parameters - count.here, count.reason
        (28, '2 tables of rank biases have 23 entries there, of which 9 are ever read, and 9 here')
    """
    with torch.device("meta"):
        model = spec.build()
    here = sum(parameter.numel() for parameter in model.parameters())
    tables = [module for module in model.modules() if isinstance(module, RankBias)]
    surplus = sum(6 * table.window - 1 - len(table.weight) for table in tables)
    sizes = sorted({(6 * table.window - 1, len(table.weight)) for table in tables})
    reason = (
        f"{len(tables)} tables of rank biases have {' or '.join(str(there) for there, _ in sizes)} entries "
        f"there, of which {' or '.join(str(used) for _, used in sizes)} are ever read, and "
        f"{' or '.join(str(used) for _, used in sizes)} here"
        if tables
        else ""
    )
    return PublishedCount(here + surplus, here, reason)


def _layer(config: Mapping[str, Any]) -> Part[Any]:
    kind, given = config["kind"], config["ctor"]
    if kind in ("standalone_ema", "standalone_ema_steps"):
        defaults = {"ndim": 2, "bidirectional": False, "truncation": None}
        return reference_parts.ema(
            _arguments(given, defaults, required=("embed_dim",), ignored=("truc_norm",))
        )
    sizes = ("embed_dim", "zdim", "hdim", "ndim")
    if kind == "standalone_layer":
        options = _arguments(given, _STANDALONE, required=sizes)
        _check_standalone(options)
        options = {**reference_parts.UNIT, **options, "chunk_size": options["window_size"]}
        return reference_parts.seqboat(options, ssm="ssm")
    if kind == "fairseq_unit":
        options = _arguments(given, reference_parts.UNIT, required=sizes, ignored=_WITHOUT_EFFECT)
        _warn_of_feature_dropout(options)
        return reference_parts.seqboat(options, ssm="move")
    raise ValueError(f"unknown kind {kind!r} of a published layer; known: {', '.join(_LAYER_KINDS)}")


def _model(config: Mapping[str, Any], tensors: Tensors) -> Part[SequenceModelSpec]:
    kind, given = config["kind"], config["ctor"]
    if kind == "standalone_model":
        options = _arguments(given, _STANDALONE_MODEL, required=("d_input",))
        _check_standalone({**options, "window_size": options["mem_size"]})
        return reference_models.standalone(options)
    if kind not in _MODEL_KINDS:
        raise ValueError(f"unknown kind {kind!r} of a published model; known: {', '.join(_MODEL_KINDS)}")
    values = _fairseq_values(config)
    _warn_of_feature_dropout(values)
    if kind == "fairseq_lm":
        vocab_size = _vocab_size(given, tensors, "decoder.embed_tokens.weight")
        return reference_models.language_model(values, vocab_size=vocab_size)
    text = kind == "fairseq_lra" and values["input_type"] == "text"
    vocab_size = _vocab_size(given, tensors, "encoder.encoder.embed_tokens.embed.weight") if text else None
    return reference_models.classifier(values, audio=kind == "fairseq_sc", vocab_size=vocab_size)


def _fairseq_values(config: Mapping[str, Any]) -> fairseq_arguments.Arguments:
    """The published model's arguments: a command line's, or those that a checkpoint holds."""
    given = config["ctor"]
    if "args" in given:
        return fairseq_arguments.complete(config["kind"], given["args"])
    values = fairseq_arguments.parse(config["kind"], given["argv"])
    values.update(given.get("override") or {})
    return values


def _vocab_size(given: Mapping[str, Any], tensors: Tensors, embedding: str) -> int:
    if given.get("vocab") is not None:
        return int(given["vocab"])
    if embedding not in tensors:
        raise ValueError(f"the state lacks {embedding!r}, which says how large the vocabulary is")
    return len(tensors[embedding])


def _arguments(
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    required: tuple[str, ...],
    ignored: tuple[str, ...] = (),
) -> dict[str, Any]:
    unknown = given.keys() - defaults.keys() - set(required) - set(ignored)
    if unknown:
        raise ValueError(f"unknown published arguments: {', '.join(sorted(unknown))}")
    return fairseq_arguments.Arguments({**defaults, **given})


def _check_standalone(options: Mapping[str, Any]) -> None:
    if options["attention_activation"] not in ("softmax", "relu2"):
        raise ValueError(
            f"attention_activation {options['attention_activation']!r}: the standalone file has softmax and relu2"
        )
    if options["rel_pos_bias"] not in ("simple", "rotary"):
        raise ValueError(
            f"rel_pos_bias {options['rel_pos_bias']!r}: the standalone file has simple and rotary"
        )
    if options["norm_type"] not in ("layernorm", "batchnorm"):
        raise ValueError(
            f"norm_type {options['norm_type']!r}: the standalone file has layernorm and batchnorm"
        )
    if options["window_size"] < 1:
        raise ValueError(
            f"the window must be at least 1 in the standalone file, got {options['window_size']}"
        )


def _warn_of_feature_dropout(options: Mapping[str, Any]) -> None:
    rates = ("dropout", "hidden_dropout", "act_dropout")
    if options["feature_dropout"] and any(options.get(name) for name in rates):
        warnings.warn(
            "feature_dropout drops whole features of a sequence in training; here single elements are dropped. "
            "Evaluation is the same",
            stacklevel=4,
        )


def _with_activation_bias(config: Mapping[str, Any], state: Tensors) -> Tensors:
    """The published `act_bias` is added to every logit for "skip": fold it into the router's bias."""
    if config["kind"] not in ("fairseq_lra", "fairseq_sc"):
        return state
    act_bias = _fairseq_values(config)["act_bias"]
    if not act_bias:
        return state

    def biased(name: str, tensor: Tensor) -> Tensor:
        if not name.endswith(".hx_proj.bias"):
            return tensor
        return torch.cat((tensor[:1] + act_bias, tensor[1:]))

    return {name: biased(name, tensor) for name, tensor in state.items()}


def _fill(build: Any, rules: tuple[Rule, ...], state: Tensors) -> Any:
    """Build a module and fill it by the rules; every tensor on either side must be accounted for."""
    sources = {rule.source for rule in rules}
    _check_names("has entries that the configuration does not explain", state.keys() - sources)
    _check_names("lacks", sources - state.keys())
    with torch.random.fork_rng(devices=[]):
        module: nn.Module = build()
    module.to(_dtype(state))
    own = {
        name: tensor.detach()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
        if name in module.state_dict()
    }
    filled: dict[str, str] = {}
    for rule in rules:
        tensor = _pick(rule, state[rule.source])
        if not rule.target:
            continue
        if own[rule.target].shape != tensor.shape:
            raise ValueError(
                f"published entry {rule.source!r} gives {rule.target!r} the shape {tuple(tensor.shape)}, but the "
                f"configuration asks for {tuple(own[rule.target].shape)}"
            )
        if rule.target in filled and not torch.equal(own[rule.target], tensor.to(own[rule.target])):
            raise ValueError(
                f"published entries {filled[rule.target]!r} and {rule.source!r} are tied, but differ"
            )
        own[rule.target].copy_(tensor)
        filled[rule.target] = rule.source
    _check_names("has nothing for", own.keys() - filled.keys())
    return module


def _pick(rule: Rule, tensor: Tensor) -> Tensor:
    try:
        return rule.pick(tensor)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"published entry {rule.source!r} {error}") from error


def _check_names(problem: str, names: Any) -> None:
    if names:
        shown = ", ".join(sorted(names)[:8]) + (" and more" if len(names) > 8 else "")
        raise ValueError(f"the published state {problem}: {shown}")


def _dtype(state: Tensors) -> torch.dtype:
    dtypes = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    if len(dtypes) != 1:
        raise ValueError(f"the published state mixes dtypes {sorted(map(str, dtypes))}; convert it to one")
    return dtypes.pop()
