"""Routers, sub-modules and layers: SSMs, attention, feed-forwards, experts, graph convolutions and norms."""

if __name__ == "modules":
    raise ImportError(
        "import sma.modules instead of modules: the bare name is only its folder in the repository"
    )

from sma.modules import attention, graph, kernels, routers, ssm
from sma.modules.adapters import Dense, DenseState, SequenceSubModule
from sma.modules.attention import *
from sma.modules.convolution import CausalConvolution, ConvolutionState
from sma.modules.experts import ExpertBank, FairShareState, MixtureOfExperts, MixtureOfExpertsState
from sma.modules.feed_forward import FeedForward, GatedFeedForward
from sma.modules.functional import activation_function
from sma.modules.graph import *
from sma.modules.kernels import *
from sma.modules.norms import BatchNorm, LayerNorm, NoNorm, Norm, RMSNorm, ScaleNorm
from sma.modules.routers import *
from sma.modules.ssm import *

__all__ = [
    "BatchNorm",
    "CausalConvolution",
    "ConvolutionState",
    "Dense",
    "DenseState",
    "ExpertBank",
    "FairShareState",
    "FeedForward",
    "GatedFeedForward",
    "LayerNorm",
    "MixtureOfExperts",
    "MixtureOfExpertsState",
    "NoNorm",
    "Norm",
    "RMSNorm",
    "ScaleNorm",
    "SequenceSubModule",
    "activation_function",
]
__all__ += attention.__all__
__all__ += graph.__all__
__all__ += kernels.__all__
__all__ += routers.__all__
__all__ += ssm.__all__
