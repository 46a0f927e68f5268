import pytest
import torch

from sma.architectures import graph_network, parse_spec
from sma.transformers import (
    SMAForCausalLM,
    SMAForSequenceClassification,
    SMAForTokenClassification,
    as_transformers,
)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({"kind": "language_model"}, SMAForCausalLM),
        ({"kind": "classifier", "n_classes": 3}, SMAForSequenceClassification),
        ({"kind": "node_classifier", "n_classes": 3}, SMAForTokenClassification),
    ],
)
def test_the_head_decides_the_class(spec, head, expected, tokens):
    model = parse_spec(spec.model_dump(mode="json") | {"head": head}).build()
    state = torch.get_rng_state()
    wrapped = as_transformers(model, eos_token_id=7)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(wrapped) is expected
    assert wrapped.model is model
    assert wrapped.training
    assert wrapped.config.eos_token_id == 7
    assert torch.equal(wrapped.eval()(tokens).logits, model(tokens))
    assert not as_transformers(model).training


def test_models_of_graphs_are_refused():
    model = graph_network(d_model=8, n_layers=1, d_input=2, n_classes=2).build()
    with pytest.raises(ValueError, match=r"model is a GraphModel, not a SequenceModel.*hub.push"):
        as_transformers(model)
