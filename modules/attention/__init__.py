"""Attention: windowed attention over activated elements, and the modules built on it."""

from sma.modules.attention.chunked import ChunkAttention, ChunkAttentionState
from sma.modules.attention.dense import DenseAttention, DenseAttentionState
from sma.modules.attention.functions import AttentionFunction, attention_function
from sma.modules.attention.gau import GAU
from sma.modules.attention.mega import MegaAttention, MegaState, RotaryBias
from sma.modules.attention.memory import WorkingMemory
from sma.modules.attention.multi_head import MultiHeadAttention
from sma.modules.attention.positions import (
    LearnedBias,
    NoPosition,
    OffsetBias,
    RankBias,
    RelativePosition,
    Rotary,
    T5Bias,
)
from sma.modules.attention.windowed import windowed_attention

__all__ = [
    "GAU",
    "AttentionFunction",
    "ChunkAttention",
    "ChunkAttentionState",
    "DenseAttention",
    "DenseAttentionState",
    "LearnedBias",
    "MegaAttention",
    "MegaState",
    "MultiHeadAttention",
    "NoPosition",
    "OffsetBias",
    "RankBias",
    "RelativePosition",
    "Rotary",
    "RotaryBias",
    "T5Bias",
    "WorkingMemory",
    "attention_function",
    "windowed_attention",
]
