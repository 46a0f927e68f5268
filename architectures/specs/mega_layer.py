"""Specs of MEGA's layer."""

from typing import Literal

from pydantic import model_validator
from typing_extensions import override

from sma import OneOf, register
from sma.architectures.specs.families import BlockSpec, Dropout, LayerSpec, NormSpec, PositionSpec, Size
from sma.architectures.specs.feed_forward import RotarySpec
from sma.architectures.specs.norms import LayerNormSpec
from sma.architectures.specs.ssm import EMASpec
from sma.modules.attention.chunked import ChunkAttention
from sma.modules.attention.mega import MegaAttention, RotaryBias


@register
class RotaryBiasSpec(PositionSpec):
    """Builds `RotaryBias`."""

    kind: Literal["rotary_bias"] = "rotary_bias"
    max_positions: Size

    @override
    def build(self, d_qk: int, *, window: int | None, bidirectional: bool) -> RotaryBias:
        return RotaryBias(d_qk, max_positions=self.max_positions)


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

    @model_validator(mode="after")
    def _check(self) -> "MegaSpec":
        if self.position.kind in ("rotary", "rotary_bias") and self.d_qk % 2:
            raise ValueError(f"rotary positions turn pairs, so d_qk must be even, got {self.d_qk}")
        if self.position.kind == "rank" and self.chunk is None:
            raise ValueError("position rank has one entry per offset in a chunk; set chunk")
        return self

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
