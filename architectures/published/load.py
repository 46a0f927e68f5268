"""Import of the published implementation's weights.

The published code is https://github.com/renll/SeqBoat (commit 5a34aed, MIT). What differs here by design is
listed in docs/fidelity.md.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma import Edges, SequenceModule, State
from sma.architectures.files.weights import check_value, fill, own_tensors
from sma.architectures.models.sequence import SequenceModel, SequenceModelSpec
from sma.architectures.published import configs
from sma.architectures.published.parts import Rule
from sma.architectures.specs.families import BlockSpec, LayerSpec
from sma.modules.attention.positions import RankBias
from sma.sequence import arguments, zero_padding

M = TypeVar("M", bound=nn.Module)
Tensors = Mapping[str, Tensor]


class ReferenceLayer(SequenceModule):
    """A layer with published weights, and the spec that it was built from.

    Args:
        spec: of the layer.
        module: what the spec built.

    Example:
        >>> from sma.architectures.specs.ssm import EMASpec
        >>> spec = EMASpec(d_state=2)
        >>> ReferenceLayer(spec, spec.build(8))(torch.zeros(1, 3, 8)).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, spec: BlockSpec | LayerSpec, module: SequenceModule) -> None:
        super().__init__()
        self.spec = spec
        self.module = module

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None, edges: Edges | None = None) -> Tensor:
        """0 at padding."""
        x = zero_padding(x, mask)
        return self.module(*arguments(self.module, x, mask, edges))

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.module.init_state(batch_size, device=device, dtype=dtype)

    @override
    def step(self, x: Tensor, state: State, mask: Tensor | None = None) -> Tensor:
        return self.module.step(zero_padding(x, mask), state, mask)

    @override
    def flops(self, n: int) -> int:
        return self.module.flops(n)


def layer_from_reference(config: Mapping[str, Any], state: Tensors) -> ReferenceLayer:
    """A published layer, made of this project's modules.

    Args:
        config: `kind` is `standalone_layer` (the SeqBoatLayer of the standalone file), `fairseq_unit` (the
            SeqBoatUnit of the training code) or `standalone_ema` (MultiHeadEMA); `ctor` holds arguments of
            its constructor, those left out taking the published defaults.
        state: the published layer's state dict.

    Returns:
        The layer in the dtypes of the state, in evaluation mode; called as `layer(x, mask=None)`, batch
        first.

    Raises:
        ValueError: if an argument is unknown or its value has no counterpart here, or if the state misses an
            entry, has one too many, or one of another shape, not finite or not of real numbers; the message
            names it.

    Example:
        >>> state = {name: torch.zeros(8, 2, 1) for name in ("alpha", "beta", "delta")}
        >>> state |= {"gamma": torch.zeros(8, 2), "omega": torch.ones(8)}
        >>> layer = layer_from_reference({"kind": "standalone_ema", "ctor": {"embed_dim": 8}}, state)
        >>> layer.spec.d_state, layer(torch.ones(1, 3, 8)).sum().item()
        (2, 24.0)
    """
    configs.warn_of_feature_dropout(config)
    part = configs.layer(config)
    module = _fill(lambda: part.spec.build(config["ctor"]["embed_dim"]), part.rules, state)
    return ReferenceLayer(part.spec, module).eval()


def model_from_reference(config: Mapping[str, Any], state: Tensors) -> SequenceModel:
    """A published model, made of this project's modules.

    Args:
        config: `kind` is `standalone_model` (the SeqBoatModel of the standalone file; `ctor` holds its
            arguments), or `fairseq_lra`, `fairseq_sc`, `fairseq_lm` (classifiers, raw audio and language
            model of the training code; `ctor` holds `argv`, the words of the command line, and optionally
            `override`, arguments that no flag sets). Arguments left out take the published defaults.
        state: the published model's state dict.

    Returns:
        The model in the dtypes of the state, in evaluation mode; its `spec` describes it. Called as
        `model(inputs, mask=None)`, document pairs as `model((first, second), (mask, other_mask))`.

    Raises:
        ValueError: see `layer_from_reference`.
    """
    configs.warn_of_feature_dropout(config)
    part = configs.model(config, state)
    bias = configs.activation_bias(config)
    if bias:  # as part of the router's bias
        skip = {name for name in state if name.endswith(".hx_proj.bias")}
        state = {name: _add_to_first(x, bias) if name in skip else x for name, x in state.items()}
    return _fill(part.spec.build, part.rules, state).eval()


def weights_from_reference(config: Mapping[str, Any], tensors: Tensors) -> dict[str, Tensor]:
    """Published tensors under the names and in the shapes that they have here.

    Args:
        config: see `layer_from_reference` and `model_from_reference`.
        tensors: by published name: weights, or anything in their shapes, such as gradients. Some may be
            missing.

    Returns:
        By the names in what `layer_from_reference` or `model_from_reference` returns.
    """
    if config["kind"] in configs.LAYERS:
        rules: Iterable[Rule] = [rule.under("", "module.") for rule in configs.layer(config).rules]
    else:
        rules = configs.model(config, tensors).rules
    found = [rule for rule in rules if rule.target and rule.source in tensors]
    return {rule.target: _pick(rule, tensors[rule.source]) for rule in found}


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
        >>> options = {"window": 4, "position": RankBiasSpec()}
        >>> count = parameters_published(seqboat(vocab_size=9, d_model=8, n_layers=2, n_classes=2, **options))
        >>> count.parameters - count.here, count.reason
        (28, '2 tables of rank biases: 23 entries there, of which 9 are ever read, which are those here')
    """
    with torch.device("meta"):
        model = spec.build()
    here = sum(parameter.numel() for parameter in model.parameters())
    tables = [module for module in model.modules() if isinstance(module, RankBias)]
    sizes = [(6 * table.window - 1, len(table.weight)) for table in tables]
    reason = "; ".join(
        f"{sizes.count(size)} tables of rank biases: {size[0]} entries there, of which {size[1]} are ever "
        "read, which are those here"
        for size in sorted(set(sizes))
    )
    return PublishedCount(here + sum(there - used for there, used in sizes), here, reason)


def _fill(build: Callable[[], M], rules: tuple[Rule, ...], state: Tensors) -> M:
    """Build a module and fill it by the rules; every tensor on either side must be accounted for.

    What the state holds is compared with the module before the module takes memory.
    """
    sources = {rule.source for rule in rules}
    _refuse(state.keys() - sources, "has entries that the configuration does not explain")
    _refuse(sources - state.keys(), "lacks")
    with torch.random.fork_rng(devices=[]):
        with torch.device("meta"):
            own = own_tensors(build())
        tensors: dict[str, Tensor] = {}
        first: dict[str, Rule] = {}
        for rule in rules:
            tensor = _pick(rule, state[rule.source])
            if rule.target in first:
                _check_tied(first[rule.target], rule, state)
            elif rule.target:
                _check_fits(tensor, own[rule.target], rule)
                tensors[rule.target], first[rule.target] = tensor, rule
        _refuse(own.keys() - tensors.keys(), "has nothing for")
        module = build()
    fill(module, tensors)
    return module


def _pick(rule: Rule, tensor: Tensor) -> Tensor:
    try:
        return rule.pick(tensor)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"published entry {rule.source!r} {error}") from error


def _check_fits(tensor: Tensor, own: Tensor, rule: Rule) -> None:
    if own.shape != tensor.shape:
        raise ValueError(
            f"published entry {rule.source!r} gives {rule.target!r} the shape {tuple(tensor.shape)}, but the "
            f"configuration asks for {tuple(own.shape)}"
        )
    check_value(repr(rule.source), tensor, own, "published entry ")


def _check_tied(first: Rule, second: Rule, state: Tensors) -> None:
    if not torch.equal(_pick(first, state[first.source]), _pick(second, state[second.source])):
        raise ValueError(f"published entries {first.source!r} and {second.source!r} are tied, but differ")


def _add_to_first(x: Tensor, number: float) -> Tensor:
    return torch.cat((x[:1] + number, x[1:]))


def _refuse(names: Iterable[str], problem: str) -> None:
    ordered = sorted(names)
    if ordered:
        more = " and more" if len(ordered) > 8 else ""
        raise ValueError(f"the published state {problem}: {', '.join(ordered[:8])}{more}")
