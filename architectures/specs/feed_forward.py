"""Specs of sub-modules, and of the positions that attention sees."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from sma import OneOf, register
from sma.architectures.specs.families import Activation, Dropout, PositionSpec, Size, SubModuleSpec
from sma.modules.attention.gau import GAU
from sma.modules.attention.positions import LearnedBias, NoPosition, RankBias, Rotary, T5Bias
from sma.modules.convolution import CausalConvolution
from sma.modules.feed_forward import FeedForward, GatedFeedForward
from sma.modules.functional import activation_function


@register
class RotarySpec(PositionSpec):
    """Builds `Rotary`."""

    kind: Literal["rotary"] = "rotary"
    base: Annotated[float, Field(gt=1)] = 10000.0

    @override
    def build(self, d_qk: int, *, window: int | None, bidirectional: bool) -> Rotary:
        return Rotary(d_qk, base=self.base)


@register
class LearnedBiasSpec(PositionSpec):
    """Builds `LearnedBias`, over original positions."""

    kind: Literal["learned"] = "learned"
    max_positions: Size

    @override
    def build(self, d_qk: int, *, window: int | None, bidirectional: bool) -> LearnedBias:
        return LearnedBias(self.max_positions)


@register
class RankBiasSpec(PositionSpec):
    """Builds `RankBias`, over compacted ranks; needs a window."""

    kind: Literal["rank"] = "rank"

    @override
    def build(self, d_qk: int, *, window: int | None, bidirectional: bool) -> RankBias:
        if window is None:
            raise ValueError("position rank has one entry per offset in the window; set window")
        return RankBias(window, bidirectional=bidirectional)


@register
class T5BiasSpec(PositionSpec):
    """Builds `T5Bias`, over original positions."""

    kind: Literal["t5"] = "t5"
    n_buckets: Size = 32
    max_distance: Size = 128

    @override
    def build(self, d_qk: int, *, window: int | None, bidirectional: bool) -> T5Bias:
        return T5Bias(n_buckets=self.n_buckets, max_distance=self.max_distance, bidirectional=bidirectional)


@register
class NoPositionSpec(PositionSpec):
    """Builds `NoPosition`."""

    kind: Literal["none"] = "none"

    @override
    def build(self, d_qk: int, *, window: int | None, bidirectional: bool) -> NoPosition:
        return NoPosition()


@register
class GAUSpec(SubModuleSpec):
    """Builds `GAU`.

    Attributes:
        d_qk: width of queries and keys; even with rotary positions.
        d_hidden: width of values; None for twice `d_model`.
        window: activated neighbours an element sees on each side it may look at; None for all of them.
        bidirectional: whether it may look ahead.
        attention: the function of the scores.
        position: how attention sees positions.
        activation: the element-wise function of queries, keys, values and gates.
        dropout: on the attention weights.
        hidden_dropout: on the values.
        output_dropout: on the result.
    """

    kind: Literal["gau"] = "gau"
    d_qk: Size = 64
    d_hidden: Size | None = None
    window: Size | None = 128
    bidirectional: bool = False
    attention: Literal["softmax", "relu2", "laplace"] = "softmax"
    position: OneOf[PositionSpec] = RotarySpec()
    activation: Activation = "silu"
    dropout: Dropout = 0.0
    hidden_dropout: Dropout = 0.0
    output_dropout: Dropout = 0.0

    @model_validator(mode="after")
    def _check_position(self) -> "GAUSpec":
        if self.position.kind == "rotary" and self.d_qk % 2:
            raise ValueError(f"rotary positions rotate pairs, so d_qk must be even, got {self.d_qk}")
        if self.position.kind == "rank" and self.window is None:
            raise ValueError("position rank has one entry per offset in the window; set window")
        return self

    @override
    def build(self, d_model: int) -> GAU:
        return GAU(
            d_model,
            d_qk=self.d_qk,
            d_hidden=self.d_hidden,
            window=self.window,
            bidirectional=self.bidirectional,
            attention=self.attention,
            position=self.position.build(self.d_qk, window=self.window, bidirectional=self.bidirectional),
            activation=activation_function(self.activation),
            dropout=self.dropout,
            hidden_dropout=self.hidden_dropout,
            output_dropout=self.output_dropout,
        )


@register
class FeedForwardSpec(SubModuleSpec):
    """Builds `FeedForward`."""

    kind: Literal["feed_forward"] = "feed_forward"
    d_hidden: Size
    activation: Activation = "gelu"
    dropout: Dropout = 0.0
    bias: bool = True

    @override
    def build(self, d_model: int) -> FeedForward:
        return FeedForward(d_model, **self.model_dump(exclude={"kind"}))


@register
class GatedFeedForwardSpec(SubModuleSpec):
    """Builds `GatedFeedForward`."""

    kind: Literal["gated_feed_forward"] = "gated_feed_forward"
    d_hidden: Size
    activation: Activation = "silu"
    dropout: Dropout = 0.0
    bias: bool = False

    @override
    def build(self, d_model: int) -> GatedFeedForward:
        return GatedFeedForward(d_model, **self.model_dump(exclude={"kind"}))


@register
class ConvolutionSpec(SubModuleSpec):
    """Builds `CausalConvolution` over activated elements."""

    kind: Literal["convolution"] = "convolution"
    kernel_size: Size
    activation: Activation = "identity"
    bias: bool = True

    @override
    def build(self, d_model: int) -> CausalConvolution:
        return CausalConvolution(d_model, **self.model_dump(exclude={"kind"}))
