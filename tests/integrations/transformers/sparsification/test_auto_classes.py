"""Auto classes: every one that the dense architecture has loads its sparsified models."""

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from sma.transformers.sparsification import routed_parts, sparsify
from sma.transformers.sparsification.auto_classes import auto_class_name

from .conftest import SIZES, scramble, tiny

HEADS = (
    ("BertForQuestionAnswering", "AutoModelForQuestionAnswering"),
    ("BertForTokenClassification", "AutoModelForTokenClassification"),
    ("BertForSequenceClassification", "AutoModelForSequenceClassification"),
    ("BertForMultipleChoice", "AutoModelForMultipleChoice"),
    ("BertForNextSentencePrediction", "AutoModelForNextSentencePrediction"),
    ("BertForPreTraining", "AutoModelForPreTraining"),
    ("BertForMaskedLM", "AutoModelForMaskedLM"),
    ("BertLMHeadModel", "AutoModelForCausalLM"),
    ("BertModel", "AutoModel"),
)


@pytest.mark.parametrize(("name", "auto"), HEADS)
def test_every_head(name, auto, tmp_path):
    fields = {"is_decoder": True} if name == "BertLMHeadModel" else {}
    torch.manual_seed(0)
    model = getattr(transformers, name)(transformers.BertConfig(**SIZES, **fields)).eval()
    scramble(sparsify(model, parts=("feed_forward", "attention")), in_full=False)
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert auto_class_name(config.base) == auto
    loaded = getattr(transformers, auto).from_pretrained(tmp_path)
    assert (type(loaded), loaded.loaded_by) == (type(model), auto)
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    ids = ids[None] if name == "BertForMultipleChoice" else ids
    with torch.no_grad():
        assert torch.equal(loaded(ids)[0], model(ids)[0])
    made = getattr(transformers, auto).from_config(config)
    assert len(routed_parts(made)) == 4


def test_a_class_that_the_architecture_lacks_is_named(tmp_path):
    sparsify(tiny("llama")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"AutoModelForMaskedLM has no class .* AutoModelForCausalLM"):
        AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)).__name__ == "LlamaModel"
