import pytest
import torch

from sma.architectures import graph_network, parse_spec
from sma.architectures.presets.by_name import model_presets, starting_sizes
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


@pytest.mark.parametrize("preset", [name for name in model_presets() if starting_sizes(name)])
def test_every_preset_is_a_model_of_transformers(preset):
    spec = model_presets()[preset](**{**starting_sizes(preset), "d_model": 16, "n_layers": 2})
    if spec.kind != "sequence_model":
        return
    model = spec.build().eval()
    words = torch.randint(5, (2, 6))
    assert torch.equal(as_transformers(model)(words).logits, model(words))


def test_models_of_graphs_are_refused():
    model = graph_network(d_model=8, n_layers=1, d_input=2, n_classes=2).build()
    with pytest.raises(ValueError, match=r"model is of type GraphModel, not SequenceModel.*hub.push"):
        as_transformers(model)
