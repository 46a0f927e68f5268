"""Specs of attention over activated elements and over whole rows, and of the positions that it sees."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from sma import OneOf, register
from sma.architectures.specs.families import BlockSpec, LayerSpec, NormSpec, PositionSpec, SubModuleSpec
from sma.architectures.specs.fields import Activation, Dropout, Size
from sma.architectures.specs.norms import LayerNormSpec
from sma.architectures.specs.ssm import EMASpec
from sma.modules.attention.chunked import ChunkAttention
from sma.modules.attention.dense import DenseAttention
from sma.modules.attention.gau import GAU
from sma.modules.attention.mega import MegaAttention, RotaryBias
from sma.modules.attention.multi_head import MultiHeadAttention
from sma.modules.attention.positions import LearnedBias, NoPosition, RankBias, Rotary, T5Bias
from sma.modules.functional import activation_function
from sma.spec.base import as_arguments


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
            raise ValueError(
                "position rank has a bias per offset inside a window; set window, or chunk in mega"
            )
        return RankBias(window, bidirectional=bidirectional)


@register
class T5BiasSpec(PositionSpec):
    """Builds `T5Bias`, over original positions."""

    kind: Literal["t5"] = "t5"
    n_buckets: Size = 32
    max_distance: Size = 128

    @override
    def build(self, d_qk: int, *, window: int | None, bidirectional: bool) -> T5Bias:
        return T5Bias(**as_arguments(self, bidirectional=bidirectional))


@register
class RotaryBiasSpec(PositionSpec):
    """Builds `RotaryBias`."""

    kind: Literal["rotary_bias"] = "rotary_bias"
    max_positions: Size

    @override
    def build(self, d_qk: int, *, window: int | None, bidirectional: bool) -> RotaryBias:
        return RotaryBias(d_qk, max_positions=self.max_positions)


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

    @override
    def build(self, d_model: int) -> GAU:
        position = self.position.build(self.d_qk, window=self.window, bidirectional=self.bidirectional)
        activation = activation_function(self.activation)
        return GAU(d_model, **as_arguments(self, position=position, activation=activation))


@register
class MultiHeadAttentionSpec(SubModuleSpec):
    """Builds `MultiHeadAttention`.

    Attributes:
        n_heads: number of heads; divides the model's width.
        window: activated neighbours an element sees on each side it may look at; None for all of them.
        bidirectional: whether it may look ahead.
        position: how attention sees positions.
        dropout: on the attention weights.
    """

    kind: Literal["multi_head_attention"] = "multi_head_attention"
    n_heads: Size
    window: Size | None = None
    bidirectional: bool = False
    position: OneOf[PositionSpec] = RotarySpec()
    dropout: Dropout = 0.0

    @override
    def build(self, d_model: int) -> MultiHeadAttention:
        position = self.position.build(
            d_model // self.n_heads, window=self.window, bidirectional=self.bidirectional
        )
        return MultiHeadAttention(d_model, **as_arguments(self, position=position))


@register
class DenseAttentionSpec(LayerSpec):
    """Builds `DenseAttention`.

    Attributes:
        n_heads: number of heads; divides the model's width.
        bidirectional: whether it may look ahead.
        position: rotary or none.
        dropout: on the attention weights.
        max_positions: the longest row in step-by-step decoding; None for no decoding.
    """

    kind: Literal["dense_attention"] = "dense_attention"
    n_heads: Size
    bidirectional: bool = False
    position: OneOf[PositionSpec] = RotarySpec()
    dropout: Dropout = 0.0
    max_positions: Size | None = None

    @override
    def build(self, d_model: int) -> DenseAttention:
        position = self.position.build(d_model // self.n_heads, window=None, bidirectional=self.bidirectional)
        return DenseAttention(d_model, **as_arguments(self, position=position))


@register
class MegaSpec(BlockSpec):
    """Builds `MegaAttention`.

    Attributes:
        norm: a norm.
        norm_position: before everything, or after it.
        mixer: the moving average.
        d_qk: width of queries and keys; even with rotary positions.
        d_hidden: width of values; None for twice `d_model`.
        chunk: elements that see each other; None for the whole row.
        max_positions: without `chunk`, the most elements that step-by-step decoding can remember.
        bidirectional: whether attention may look ahead.
        attention: the function of the scores.
        position: how attention sees positions.
        dropout: on the moving average and on the result.
        attention_dropout: on the attention weights.
        hidden_dropout: on the values.
    """

    kind: Literal["mega"] = "mega"
    norm: OneOf[NormSpec] = LayerNormSpec()
    norm_position: Literal["pre", "post"] = "pre"
    mixer: OneOf[LayerSpec] = EMASpec()
    d_qk: Size = 64
    d_hidden: Size | None = None
    chunk: Size | None = None
    max_positions: Size | None = None
    bidirectional: bool = False
    attention: Literal["softmax", "relu2", "laplace"] = "softmax"
    position: OneOf[PositionSpec] = RotarySpec()
    dropout: Dropout = 0.0
    attention_dropout: Dropout = 0.0
    hidden_dropout: Dropout = 0.0

    @override
    def build(self, d_model: int) -> MegaAttention:
        position = self.position.build(self.d_qk, window=self.chunk, bidirectional=self.bidirectional)
        attention = ChunkAttention(
            self.d_qk,
            chunk=self.chunk,
            max_positions=self.max_positions,
            bidirectional=self.bidirectional,
            attention=self.attention,
            position=position,
            dropout=self.attention_dropout,
        )
        return MegaAttention(
            d_model,
            mixer=self.mixer.build(d_model),
            attention=attention,
            norm=self.norm.build(d_model),
            pre_norm=self.norm_position == "pre",
            d_hidden=self.d_hidden,
            dropout=self.dropout,
            hidden_dropout=self.hidden_dropout,
        )
