"""The class of transformers for a model, by what its head scores."""

from typing import Any

from torch import nn

from sma.architectures.models.sequence import SequenceModel
from sma.transformers.models.base import SMAPreTrainedModel
from sma.transformers.models.causal_lm import SMAForCausalLM
from sma.transformers.models.classification import SMAForSequenceClassification, SMAForTokenClassification
from sma.transformers.models.heads import scored

_CLASSES: dict[str, type[SMAPreTrainedModel]] = {
    "next tokens": SMAForCausalLM,
    "rows": SMAForSequenceClassification,
    "elements": SMAForTokenClassification,
}


def as_transformers(model: nn.Module, **fields: Any) -> SMAPreTrainedModel:
    """A model of transformers with the weights of `model` itself, of the class that fits its head.

    Args:
        model: a `SequenceModel`, as built, trained, loaded or imported.
        fields: of the configuration, such as `eos_token_id` or `id2label`.

    Raises:
        ValueError: if it is another model, or its head scores what transformers has no class for.

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=256, d_model=16, n_layers=2, n_classes=3).build()
        >>> type(as_transformers(model)).__name__
        'SMAForSequenceClassification'
    """
    if not isinstance(model, SequenceModel):
        return SMAPreTrainedModel.from_model(model, **fields)  # says why not
    return _CLASSES[scored(model)[0]].from_model(model, **fields)
