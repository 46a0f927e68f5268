"""Specs of multi-head attention: over activated elements, and over whole sequences."""

from typing import Literal

from pydantic import model_validator
from typing_extensions import override

from sma import OneOf, register
from sma.architectures.specs.families import Dropout, LayerSpec, PositionSpec, Size, SubModuleSpec
from sma.architectures.specs.feed_forward import RotarySpec
from sma.modules.attention.dense import DenseAttention
from sma.modules.attention.multi_head import MultiHeadAttention


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

    @model_validator(mode="after")
    def _check_position(self) -> "MultiHeadAttentionSpec":
        if self.position.kind == "rank" and self.window is None:
            raise ValueError("position rank has one entry per offset in the window; set window")
        return self

    @override
    def build(self, d_model: int) -> MultiHeadAttention:
        position = self.position.build(
            d_model // self.n_heads, window=self.window, bidirectional=self.bidirectional
        )
        return MultiHeadAttention(
            d_model,
            n_heads=self.n_heads,
            window=self.window,
            bidirectional=self.bidirectional,
            position=position,
            dropout=self.dropout,
        )


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
        return DenseAttention(
            d_model,
            n_heads=self.n_heads,
            bidirectional=self.bidirectional,
            position=position,
            dropout=self.dropout,
            max_positions=self.max_positions,
        )
