"""Makes the classes of this package known to transformers' Auto classes."""

from sma.transformers.byte_tokenizer import ByteTokenizer
from sma.transformers.config import SMAConfig
from sma.transformers.models.causal_lm import SMAForCausalLM
from sma.transformers.models.classification import SMAForSequenceClassification, SMAForTokenClassification
from sma.transformers.models.features import SMAModel
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)


def register_auto_classes() -> None:
    """Let `AutoConfig`, `AutoModel`, ... and `AutoTokenizer` find them; again does nothing."""
    AutoConfig.register(SMAConfig.model_type, SMAConfig, exist_ok=True)
    for auto, model in (
        (AutoModel, SMAModel),
        (AutoModelForCausalLM, SMAForCausalLM),
        (AutoModelForSequenceClassification, SMAForSequenceClassification),
        (AutoModelForTokenClassification, SMAForTokenClassification),
    ):
        auto.register(SMAConfig, model, exist_ok=True)
    AutoTokenizer.register(SMAConfig, ByteTokenizer, exist_ok=True)
