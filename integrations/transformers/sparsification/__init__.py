"""Pretrained models of transformers whose tokens may skip parts of them."""

from sma.transformers.sparsification.attention_functions import register_attention_functions
from sma.transformers.sparsification.routed_layer import routed_parts
from sma.transformers.sparsification.saving import register_sparsified_models, sparsify
from sma.transformers.sparsification.sparsified_config import SparsifiedConfig
from sma.transformers.sparsification.sparsify_spec import NamedPart, SparsifySpec

register_attention_functions()
register_sparsified_models()

__all__ = ["NamedPart", "SparsifiedConfig", "SparsifySpec", "routed_parts", "sparsify"]
