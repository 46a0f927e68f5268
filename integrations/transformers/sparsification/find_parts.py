"""The parts of a transformers model, found by their structure: feed-forwards, attentions and layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from sma.transformers.sparsification.routed_attention import Projections, input_width
from sma.transformers.sparsification.sparsify_spec import NamedPart, SparsifySpec

ATTENTIONS = (
    Projections("q_proj", "o_proj", ("k_proj", "v_proj")),  # Llama, Mistral, Gemma, Qwen
    Projections("query_key_value", "dense", ("query_key_value",)),  # GPT-NeoX
    Projections("c_attn", "c_proj", ("c_attn",)),  # GPT-2
    Projections("self.query", "output.dense", ("self.key", "self.value")),  # BERT
)
"""Attentions by their linear maps."""
FEED_FORWARDS = (
    ("gate_proj", "up_proj", "down_proj"),  # Llama, Mistral, Gemma, Qwen
    ("dense_h_to_4h", "dense_4h_to_h"),  # GPT-NeoX
    ("c_fc", "c_proj"),  # GPT-2
    ("gate", "experts"),  # Mixtral, Qwen-MoE
)
"""Feed-forwards by their maps, the first of which reads the feed-forward's input."""
IN_TWO = ("intermediate.dense", "output.dense", "output.LayerNorm", "output.dropout")
"""A layer whose feed-forward is two modules, the second with the residual connection: BERT."""


@dataclass(frozen=True)
class FoundPart:
    """A part of a model.

    Attributes:
        part: feed_forward, attention or layer.
        name: its dotted name in the model's body, as recordings show it; of a feed-forward in two modules,
            of the first.
        module: the module there; of a feed-forward in two modules, the layer that holds them.
        d_model: D, the width of what its router reads.
        attention: the name of the attention in a layer.
        projections: the maps of an attention, or of that in a layer.
        feed_forward: the modules that a feed-forward is called by, by their names: of one in two modules in
            its layer; of a layer, in it; empty where the module itself is called.
    """

    part: str
    name: str
    module: nn.Module
    d_model: int
    attention: str = ""
    projections: Projections | None = None
    feed_forward: tuple[str, ...] = ()

    @property
    def inner(self) -> tuple["FoundPart", ...]:
        """The feed-forward of a layer as a part of its own."""
        if self.part != "layer":
            return ()
        calls = self.feed_forward if len(self.feed_forward) > 1 else ()
        name = _join(self.name, self.feed_forward[0])
        return (FoundPart("feed_forward", name, self.module, self.d_model, feed_forward=calls),)

    @property
    def places(self) -> tuple[str, ...]:
        """The dotted names of the modules that the part is."""
        if self.part != "feed_forward" or not self.feed_forward:
            return (self.name,)
        return tuple(_join(self.name.rpartition(".")[0], name) for name in self.feed_forward)


def find_parts(body: nn.Module, spec: SparsifySpec) -> list[FoundPart]:
    """The parts that a spec names, in the model's order, none of them inside another.

    Args:
        body: the model without its head.
        spec: what is looked for.

    Raises:
        ValueError: if a kind of part is not found, a pattern matches nothing, or a part is in another.
    """
    known = list(_named(body, spec.named) if spec.named else _by_structure(body))
    found = []
    for part in dict.fromkeys(spec.parts):
        these = [each for each in known if each.part == part]
        if not these:
            raise ValueError(_unknown(body, part))
        found += these
    chosen = _chosen(found, spec) if spec.only else found
    _check_apart(chosen)
    order = {name: i for i, (name, _) in enumerate(body.named_modules())}
    return sorted(chosen, key=lambda each: order[each.name])


def _chosen(found: list[FoundPart], spec: SparsifySpec) -> list[FoundPart]:
    """The parts that the patterns of `only` match."""
    for pattern in spec.only:
        if not any(fnmatchcase(each.name, pattern) for each in found):
            raise ValueError(
                f"only={pattern!r} matches no {' or '.join(spec.parts)}; there are: "
                f"{', '.join(each.name for each in found)}"
            )
    chosen = [each for each in found if any(fnmatchcase(each.name, pattern) for pattern in spec.only)]
    for part in spec.parts:
        if not any(each.part == part for each in chosen):
            there = ", ".join(each.name for each in found if each.part == part)
            raise ValueError(
                f"only={', '.join(map(repr, spec.only))} matches no {part}; leave {part} out of parts, or "
                f"add a pattern for one of: {there}"
            )
    return chosen


def _check_apart(parts: list[FoundPart]) -> None:
    """Raise ValueError if two parts are one module, or one is inside another."""
    owner: dict[str, FoundPart] = {}
    for part in parts:
        for place in part.places:
            if owner.setdefault(place, part) is not part:
                raise ValueError(
                    f"{place} is named twice, as {owner[place].part} and as {part.part}; keep one of the "
                    "patterns in named"
                )
    for place, part in owner.items():
        for outer in _around(place):
            if outer in owner:
                raise ValueError(
                    f"{place} ({part.part}) is inside {outer} ({owner[outer].part}), and both are to be "
                    "routed; make the patterns in named narrower (* matches dots too), or choose by `only`"
                )


def _by_structure(body: nn.Module) -> Iterator[FoundPart]:
    """The parts of known structures; of feed-forwards inside one another, the outermost."""
    outermost: set[str] = set()
    for name, module in body.named_modules():
        if any(outer in outermost for outer in (name, *_around(name))):
            continue
        attention = feed_forward = None
        for child, inner in module.named_children():
            attention = _attention(name, child, inner) or attention
            feed_forward = _feed_forward(name, child, inner) or feed_forward
        if _has(module, IN_TWO):
            width = module.get_submodule(IN_TWO[0]).in_features
            calls = tuple(each.partition(".")[0] for each in IN_TWO[:2])
            feed_forward = FoundPart("feed_forward", _join(name, calls[0]), module, width, feed_forward=calls)
        if feed_forward is not None:
            outermost.update(feed_forward.places)
        yield from (part for part in (attention, feed_forward) if part is not None)
        if attention is not None and feed_forward is not None:
            calls = feed_forward.feed_forward or (feed_forward.name.rpartition(".")[2],)
            inside = attention.name.rpartition(".")[2]
            yield FoundPart(
                "layer", name, module, attention.d_model, inside, attention.projections, feed_forward=calls
            )


def _attention(name: str, child: str, module: nn.Module) -> FoundPart | None:
    for projections in ATTENTIONS:
        if _has(module, projections.names):
            width = input_width(module.get_submodule(projections.query))
            return FoundPart("attention", _join(name, child), module, width, projections=projections)
    return None


def _feed_forward(name: str, child: str, module: nn.Module) -> FoundPart | None:
    for names in FEED_FORWARDS:
        if _has(module, names):
            first = module.get_submodule(names[0])
            if isinstance(getattr(first, "weight", None), Tensor):
                return FoundPart("feed_forward", _join(name, child), module, input_width(first))
    return None


def _named(body: nn.Module, named: tuple[NamedPart, ...]) -> Iterator[FoundPart]:
    config: Any = body.config
    for part in named:
        matches = [(name, m) for name, m in body.named_modules() if name and fnmatchcase(name, part.pattern)]
        if not matches:
            raise ValueError(f"named.pattern={part.pattern!r} matches no module of {type(body).__name__}")
        for name, module in matches:
            projections = None
            if part.part == "attention":
                projections = Projections(part.query or "", part.output or "", part.keys)
                for map_name in projections.names:
                    if not _has(module, (map_name,)):
                        raise ValueError(
                            f"{name} has no {map_name!r}; name maps of {type(module).__name__}: "
                            f"{', '.join(inner for inner, _ in module.named_modules() if inner)}"
                        )
            yield FoundPart(part.part, name, module, config.hidden_size, projections=projections)


def _has(module: nn.Module, names: tuple[str, ...]) -> bool:
    held = dict(module.named_modules())
    return all(name in held for name in names)


def _around(name: str) -> Iterator[str]:
    """The names of the modules that hold one."""
    while name := name.rpartition(".")[0]:
        yield name


def _join(*names: str) -> str:
    return ".".join(filter(None, names))


def _unknown(body: nn.Module, part: str) -> str:
    looked = {
        "attention": "; ".join(", ".join(each.names) for each in ATTENTIONS),
        "feed_forward": "; ".join(", ".join(each) for each in (*FEED_FORWARDS, IN_TWO)),
        "layer": "a module with such an attention and such a feed-forward",
    }[part]
    return (
        f"{type(body).__name__} has no {part} of a known structure (looked for modules with: {looked}); name "
        "its parts in the spec, as named: [{part: feed_forward, pattern: 'layers.*.ffn'}]"
    )
