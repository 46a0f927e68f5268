"""The published layers and models as specs of this project, and where their weights go.

Every function returns an `Import`: a spec, and the rules that fill what it builds from the published state.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from torch import Tensor

from sma import Spec
from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.specs.attention import GAUSpec, LearnedBiasSpec, RankBiasSpec, RotarySpec, T5BiasSpec
from sma.architectures.specs.families import BlockSpec, LayerSpec, NormSpec, PositionSpec
from sma.architectures.specs.feed_forward import FeedForwardSpec, LinearSpec
from sma.architectures.specs.norms import BatchNormSpec, LayerNormSpec, RMSNormSpec, ScaleNormSpec
from sma.architectures.specs.routers import LatentConfiguratorSpec
from sma.architectures.specs.sma import DenseSpec, SMASpec
from sma.architectures.specs.ssm import EMASpec

S = TypeVar("S", bound=Spec)
Pick = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rule:
    """One tensor here, taken from a published one.

    Attributes:
        source: the published name.
        target: the name here; empty for a tensor that is only checked.
        pick: the part of the published tensor, in the shape that it has here; ValueError if it has none.
    """

    source: str
    target: str
    pick: Pick = lambda tensor: tensor

    def under(self, source: str, target: str) -> "Rule":
        """The same rule inside modules that are called `source` there and `target` here."""
        return replace(self, source=source + self.source, target=self.target and target + self.target)


@dataclass(frozen=True)
class Import(Generic[S]):
    """A spec, and the rules that fill what it builds."""

    spec: S
    rules: tuple[Rule, ...]

    def under(self, source: str, target: str) -> tuple[Rule, ...]:
        """All rules, each as `Rule.under` makes it."""
        return tuple(rule.under(source, target) for rule in self.rules)


UNIT: dict[str, Any] = {
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "hidden_dropout": 0.0,
    "activation": "silu",
    "attention_activation": "relu2",
    "bidirectional": False,
    "chunk_size": -1,
    "truncation": None,
    "norm_type": "layernorm",
    "prenorm": True,
    "norm_affine": True,
    "feature_dropout": False,
    "rel_pos_bias": "simple",
    "max_positions": 1024,
    "init_temp_scale": 0.3,
    "local_pos": False,
    "always_act": False,
}
"""The optional arguments of the published `SeqBoatUnit` that change its function, with their defaults."""

_ACTIVATIONS = {
    "silu": "silu",
    "relu": "relu",
    "gelu": "gelu",
    "gelu_accurate": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "linear": "identity",
}

_NORMS: dict[str, tuple[NormSpec, dict[str, str], tuple[str, ...]]] = {
    # the spec, learned weights (name there: name here), buffers
    "layernorm": (LayerNormSpec(), {"weight": "weight", "bias": "bias"}, ()),
    "rmsnorm": (RMSNormSpec(), {"weight": "weight"}, ()),
    "scalenorm": (ScaleNormSpec(), {"scalar": "weight"}, ()),
    "batchnorm": (
        BatchNormSpec(),
        {"weight": "weight", "bias": "bias"},
        ("running_mean", "running_var", "num_batches_tracked"),
    ),
}
_NORMS["syncbatchnorm"] = (BatchNormSpec(sync=True), *_NORMS["batchnorm"][1:])


def activation_name(published: str) -> str:
    """This project's name of a published activation function."""
    return _choose("activation_fn", published, _ACTIVATIONS)


def norm(kind: str, *, affine: bool = True) -> Import[NormSpec]:
    """A published `SequenceNorm`."""
    spec, weights, buffers = _choose("norm_type", kind, _NORMS)
    names = {**(weights if affine else {}), **{name: name for name in buffers}}
    rules = tuple(Rule(f"norm.{source}", target) for source, target in names.items())
    return Import(spec.model_copy(update={"affine": affine}), rules)


def ema(options: Mapping[str, Any]) -> Import[EMASpec]:
    """A published `MultiHeadEMA` with the options embed_dim, ndim, bidirectional and truncation."""
    spec = EMASpec(
        d_state=options["ndim"], bidirectional=options["bidirectional"], truncation=options["truncation"]
    )
    shape = (2 if spec.bidirectional else 1, options["embed_dim"], spec.d_state)
    rules = (
        Rule(name, name, lambda tensor: tensor.reshape(shape)) for name in ("delta", "alpha", "beta", "gamma")
    )
    return Import(spec, (*rules, Rule("omega", "omega")))


def position(options: Mapping[str, Any], window: int | None) -> Import[PositionSpec]:
    """The published `rel_pos_bias`; its parameters are in a module of that name.

    Raises:
        ValueError: if its kind is unknown.
    """
    kind = options["rel_pos_bias"]
    if kind == "rotary":
        return Import(RotarySpec(), ())
    if kind == "t5":
        return Import(
            T5BiasSpec(), (Rule("relative_attention_bias", "weight", lambda tensor: tensor.flatten()),)
        )
    if kind != "simple":
        raise ValueError(f"unknown rel_pos_bias {kind!r}; known: simple, rotary, t5")
    if options["local_pos"] and window is not None:
        entries = _rank_entries(window, options["bidirectional"])
        return Import(RankBiasSpec(), (Rule("rel_pos_bias", "weight", entries),))
    return Import(LearnedBiasSpec(max_positions=options["max_positions"]), (Rule("rel_pos_bias", "weight"),))


def _rank_entries(window: int, bidirectional: bool) -> Pick:
    """Offset r reads entry 4W - 1 + r of a table of 6W - 1; no other entry is ever read."""

    def pick(table: Tensor) -> Tensor:
        if table.shape != (6 * window - 1,):
            raise ValueError(
                f"has shape {tuple(table.shape)}, but a window of {window} makes {(6 * window - 1,)}"
            )
        return table[3 * window - 1 : (5 if bidirectional else 4) * window]

    return pick


def seqboat(options: Mapping[str, Any], *, ssm: str) -> Import[BlockSpec]:
    """A published SeqBoat layer.

    Args:
        options: the arguments of the published `SeqBoatUnit`, all of them.
        ssm: what the published layer calls its SSM.
    """
    window = _window(options["chunk_size"])
    bidirectional, dropout = options["bidirectional"], options["dropout"]
    where, always = position(options, window), options["always_act"]
    norm_part = norm(options["norm_type"], affine=options["norm_affine"])
    mixer = ema(options)
    activation = activation_name(options["activation"])
    gau = GAUSpec(
        d_qk=options["zdim"],
        d_hidden=options["hdim"],
        window=window,
        bidirectional=bidirectional,
        attention=options["attention_activation"],
        position=where.spec,
        activation=activation,
        dropout=options["attention_dropout"],
        hidden_dropout=options["hidden_dropout"],
        output_dropout=dropout if bidirectional else 0.0,
    )
    router = LatentConfiguratorSpec(init_temperature_scale=options["init_temp_scale"])
    attend: LayerSpec = DenseSpec(module=gau) if always else SMASpec(router=router, modules=(gau,))
    gau_name = "branches.1.module." if always else "branches.1.sub_modules.0."
    spec = ResidualSpec(
        norm=norm_part.spec,
        norm_position="pre" if options["prenorm"] else "post",
        mixer=mixer.spec,
        branches=(LinearSpec(), attend),
        activation=activation,
        mixer_dropout=dropout,
        dropout=0.0 if bidirectional else dropout,
    )
    return Import(
        spec,
        (
            *norm_part.under("norm.", "pre_norm." if options["prenorm"] else "post_norm."),
            *mixer.under(f"{ssm}.", "mixer."),
            *_linear_and_router(always),
            *where.under("rel_pos_bias.", f"{gau_name}position."),
            *(rule.under("", gau_name) for rule in _GAU),
        ),
    )


def feed_forward(options: Mapping[str, Any], d_hidden: int, hidden_dropout: float) -> Import[BlockSpec]:
    """A published `NormalizedFeedForwardNetwork` with the norm, activation and dropout of `options`."""
    norm_part = norm(options["norm_type"])
    position = "pre" if options["prenorm"] else "post"
    activation = activation_name(options["activation"])
    branch = FeedForwardSpec(d_hidden=d_hidden, activation=activation, dropout=hidden_dropout)
    spec = ResidualSpec(
        norm=norm_part.spec,
        norm_position=position,
        branches=(DenseSpec(module=branch),),
        activation="identity",
        dropout=options["dropout"],
    )
    layers = (("fc1", "hidden"), ("fc2", "out"))
    maps = (
        Rule(f"{there}.{name}", f"branches.0.module.{here}.{name}")
        for there, here in layers
        for name in ("weight", "bias")
    )
    return Import(spec, (*norm_part.under("norm.", f"{position}_norm."), *maps))


_GAU = (
    Rule("mx_proj.weight", "input.weight"),
    Rule("mx_proj.bias", "input.bias"),
    Rule("gamma", "gamma"),
    Rule("beta", "beta"),
    Rule("h_proj.weight", "output.weight"),
    Rule("h_proj.bias", "output.bias"),
)


def _linear_and_router(always: bool) -> Iterable[Rule]:
    """One published projection holds the router's two rows first, then the linear branch."""
    for name in ("weight", "bias"):
        linear = Rule(f"hx_proj.{name}", f"branches.0.module.{name}")
        if always:
            yield linear
        else:
            yield replace(linear, pick=lambda tensor: tensor[2:])
            yield Rule(linear.source, f"branches.1.router.projection.{name}", lambda tensor: tensor[:2])
    if not always:
        yield Rule("q_router.temp", "branches.1.router.log_temperature")


def _window(chunk_size: int) -> int | None:
    if chunk_size == 0:
        raise ValueError("chunk_size 0 is not a window; the published code fails there too. Use -1 for none")
    return chunk_size if chunk_size > 0 else None


def _choose(name: str, value: str, known: Mapping[str, Any]) -> Any:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
    return known[value]
