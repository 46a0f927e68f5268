"""What can be routed, and what routes: routers, SSMs, attention, feed-forward, experts, graphs and norms."""

if __name__ == "modules":
    raise ImportError(
        "import sma.modules instead of modules: the bare name is only its folder in the repository"
    )

from sma.modules.activations import activation_function
from sma.modules.norms import BatchNorm, LayerNorm, NoNorm, Norm, RMSNorm, ScaleNorm

__all__ = [
    "BatchNorm",
    "LayerNorm",
    "NoNorm",
    "Norm",
    "RMSNorm",
    "ScaleNorm",
    "activation_function",
]
