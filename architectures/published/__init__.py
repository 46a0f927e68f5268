"""Import of weights of the published implementation."""

from sma.architectures.published.checkpoint import model_from_checkpoint
from sma.architectures.published.load import layer_from_reference, model_from_reference, parameters_published

__all__ = [
    "layer_from_reference",
    "model_from_checkpoint",
    "model_from_reference",
    "parameters_published",
]
