"""Models for the transformers library, and models of any kind on the Hugging Face Hub."""

from sma.lazy import needs

if __name__ == "integrations.transformers":
    raise ImportError("import sma.transformers, not integrations.transformers: the latter is only its folder")

with needs("transformers", "sma.transformers"):
    import huggingface_hub  # noqa: F401

    import transformers  # noqa: F401

from sma.transformers import hub
from sma.transformers.auto import register_auto_classes
from sma.transformers.byte_tokenizer import ByteTokenizer
from sma.transformers.callbacks import ProgressCallback
from sma.transformers.cards import CardFacts, model_card
from sma.transformers.config import SMAConfig
from sma.transformers.file_tokenizer import file_tokenizer
from sma.transformers.models.base import SMAPreTrainedModel
from sma.transformers.models.cache import StateCache
from sma.transformers.models.causal_lm import SMAForCausalLM
from sma.transformers.models.classification import SMAForSequenceClassification, SMAForTokenClassification
from sma.transformers.models.conversion import as_transformers
from sma.transformers.models.features import SMAModel
from sma.transformers.sparsification import SparsifySpec, routed_parts, sparsify

register_auto_classes()

__all__ = [
    "ByteTokenizer",
    "CardFacts",
    "ProgressCallback",
    "SMAConfig",
    "SMAForCausalLM",
    "SMAForSequenceClassification",
    "SMAForTokenClassification",
    "SMAModel",
    "SMAPreTrainedModel",
    "SparsifySpec",
    "StateCache",
    "as_transformers",
    "file_tokenizer",
    "hub",
    "model_card",
    "routed_parts",
    "sparsify",
]
