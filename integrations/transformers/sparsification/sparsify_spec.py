"""The spec of what tokens may skip in a model of transformers."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from sma.architectures.specs.families import RouterSpec
from sma.architectures.specs.fields import Coefficient, Positive, Share
from sma.architectures.specs.routers import SigmoidSpec
from sma.spec.base import Fields, Spec
from sma.spec.registry import OneOf, register

Part = Literal["feed_forward", "attention", "layer"]


def _as_several(value: Any) -> Any:
    """One name as a tuple of one."""
    return (value,) if isinstance(value, str) else value


OneOrMore = BeforeValidator(_as_several)


class NamedPart(Fields):
    """A part of a model whose structure is not known here.

    Attributes:
        part: feed_forward, a module that maps `(B, L, D)` to the same token by token, without a residual
            connection in it; or attention, which calls transformers' attention interface.
        pattern: of the module's dotted name, such as `decoder.blocks.*.ffn`.
        query: of an attention: the linear map that gives its queries, by its name in the attention.
        output: of an attention: the linear map that gives its result.
        keys: of an attention: those of keys and values; the query's alone if one map gives all three.
    """

    part: Literal["feed_forward", "attention"]
    pattern: str
    query: str | None = None
    output: str | None = None
    keys: Annotated[tuple[str, ...], OneOrMore] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.part == "attention" and not (self.query and self.output and self.keys):
            raise ValueError("an attention needs the names of its maps: set query, output and keys")
        return self


@register
class SparsifySpec(Spec):
    """Says what `sma.sparsify` puts behind routers.

    Attributes:
        parts: feed_forward, attention, or both; or layer, which skips both by one decision.
        only: patterns of dotted names in the model's body, such as `layers.[4-9].*`; empty: everywhere.
        router: of every part, with one module of its own. A `gumbel` router draws in training, so that a
            model starts as it was in evaluation only.
        rate: the share of the parts' operations that their tokens should compute in the end, of all parts
            together.
        ramp: the share of training over which that target moves from 1 to `rate`.
        coefficient: of the loss that holds the rate to its target.
        skipped: what a token that skips an attention is to others: `seen`, where its key and value are
            computed and only its query is not, or `unseen`, as in this project's own layers.
        init_logit: by which every token is active at first.
        named: parts of a model whose structure is not known here.
    """

    kind: Literal["sparsify"] = "sparsify"
    parts: Annotated[tuple[Part, ...], Field(min_length=1), OneOrMore] = ("feed_forward",)
    only: Annotated[tuple[str, ...], OneOrMore] = ()
    router: OneOf[RouterSpec] = SigmoidSpec()
    rate: Share = 0.5
    ramp: Share = 0.5
    coefficient: Coefficient = 1.0
    skipped: Literal["seen", "unseen"] = "seen"
    init_logit: Positive = 2.0
    named: tuple[NamedPart, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "layer" in self.parts and len(set(self.parts)) > 1:
            raise ValueError(
                f"parts {', '.join(self.parts)}: a layer holds its feed-forward and its attention; name "
                "layer alone, or the two parts"
            )
        if "layer" in self.parts and self.named:
            raise ValueError("named parts are a feed_forward or an attention, no layer; set parts to these")
        kinds = dict.fromkeys(each.part for each in self.named)
        if self.named and set(kinds) != set(self.parts):
            raise ValueError(
                f"parts is {', '.join(dict.fromkeys(self.parts))}, but named has {', '.join(kinds)}; name "
                "parts of each kind in parts, and of no other"
            )
        return self
