"""Models for the transformers library, and models of any kind on the Hugging Face Hub."""

import importlib.util

if __name__ == "integrations.transformers":
    raise ImportError("import sma.transformers, not integrations.transformers: the latter is only its folder")

_missing = [name for name in ("transformers", "huggingface_hub") if importlib.util.find_spec(name) is None]
if _missing:
    raise ImportError(
        f"sma.transformers needs the package {_missing[0]}; install it with: pip install "
        "'sparse-modular-activation[transformers]'"
    )

from sma.transformers import hub
from sma.transformers.auto import register_auto_classes
from sma.transformers.base import SMAPreTrainedModel
from sma.transformers.byte_tokenizer import ByteTokenizer
from sma.transformers.cache import StateCache
from sma.transformers.callbacks import ProgressCallback
from sma.transformers.cards import CardFacts, model_card
from sma.transformers.causal_lm import SMAForCausalLM
from sma.transformers.classification import SMAForSequenceClassification, SMAForTokenClassification
from sma.transformers.config import SMAConfig
from sma.transformers.conversion import as_transformers
from sma.transformers.features import SMAModel

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
    "StateCache",
    "as_transformers",
    "hub",
    "model_card",
]
