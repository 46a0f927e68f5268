"""What can be routed, and what routes: routers, SSMs, attention, feed-forward, experts, graphs and norms."""

if __name__ == "modules":
    raise ImportError(
        "import sma.modules instead of modules: the bare name is only its folder in the repository"
    )

from sma.modules.activations import activation_function
from sma.modules.ema import MultiHeadEMA
from sma.modules.fixed_routers import AlwaysActive, NeverActive, RandomRouter
from sma.modules.graph import GraphConvolution, NodeRows
from sma.modules.graph_convolutions import check_convolution, named_convolution
from sma.modules.norms import BatchNorm, LayerNorm, NoNorm, Norm, RMSNorm, ScaleNorm
from sma.modules.routers import ActivationBudget, GumbelRouter, LatentConfigurator, SigmoidRouter
from sma.modules.top_k import ExpertChoiceRouter, TopKRouter

__all__ = [
    "ActivationBudget",
    "AlwaysActive",
    "BatchNorm",
    "ExpertChoiceRouter",
    "GraphConvolution",
    "GumbelRouter",
    "LatentConfigurator",
    "LayerNorm",
    "MultiHeadEMA",
    "NeverActive",
    "NoNorm",
    "NodeRows",
    "Norm",
    "RMSNorm",
    "RandomRouter",
    "ScaleNorm",
    "SigmoidRouter",
    "TopKRouter",
    "activation_function",
    "check_convolution",
    "named_convolution",
]
