"""What can be routed, and what routes: routers, SSMs, attention, feed-forward, experts, graphs and norms."""

if __name__ == "modules":
    raise ImportError(
        "import sma.modules instead of modules: the bare name is only its folder in the repository"
    )

from sma.modules.adapters import Dense, DenseState
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
from sma.modules.attention.windowed import attention_backend, windowed_attention
from sma.modules.convolution import CausalConvolution
from sma.modules.experts import ExpertBank, MixtureOfExperts
from sma.modules.feed_forward import FeedForward, GatedFeedForward
from sma.modules.functional import activation_function
from sma.modules.graph.batch import NodeRows
from sma.modules.graph.convolution import GraphConvolution
from sma.modules.graph.named import check_convolution, named_convolution
from sma.modules.norms import BatchNorm, LayerNorm, NoNorm, Norm, RMSNorm, ScaleNorm
from sma.modules.routers.budget import ActivationBudget
from sma.modules.routers.fixed import AlwaysActive, NeverActive, RandomRouter
from sma.modules.routers.pointwise import GumbelRouter, LatentConfigurator, SigmoidRouter
from sma.modules.routers.ramp import Ramp, Scheduled, set_progress
from sma.modules.routers.top_k import ExpertChoiceRouter, TopKRouter
from sma.modules.ssm.diagonal import DiagonalSSM
from sma.modules.ssm.ema import MultiHeadEMA
from sma.modules.ssm.mamba2 import SelectiveSSM
from sma.modules.ssm.s4d import S4D
from sma.modules.ssm.sub_module import SSMSubModule

__all__ = [
    "GAU",
    "S4D",
    "ActivationBudget",
    "AlwaysActive",
    "AttentionFunction",
    "BatchNorm",
    "CausalConvolution",
    "ChunkAttention",
    "ChunkAttentionState",
    "Dense",
    "DenseAttention",
    "DenseAttentionState",
    "DenseState",
    "DiagonalSSM",
    "ExpertBank",
    "ExpertChoiceRouter",
    "FeedForward",
    "GatedFeedForward",
    "GraphConvolution",
    "GumbelRouter",
    "LatentConfigurator",
    "LayerNorm",
    "LearnedBias",
    "MegaAttention",
    "MegaState",
    "MixtureOfExperts",
    "MultiHeadAttention",
    "MultiHeadEMA",
    "NeverActive",
    "NoNorm",
    "NoPosition",
    "NodeRows",
    "Norm",
    "OffsetBias",
    "RMSNorm",
    "Ramp",
    "RandomRouter",
    "RankBias",
    "RelativePosition",
    "Rotary",
    "RotaryBias",
    "SSMSubModule",
    "ScaleNorm",
    "Scheduled",
    "SelectiveSSM",
    "SigmoidRouter",
    "T5Bias",
    "TopKRouter",
    "WorkingMemory",
    "activation_function",
    "attention_backend",
    "attention_function",
    "check_convolution",
    "named_convolution",
    "set_progress",
    "windowed_attention",
]
