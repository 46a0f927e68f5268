"""The lines of Python that build a model."""

import copy

import pytest
import torch
from broken_models import Plain

from sma.testing.black_box.sources import broken, source_of


def built(lines):
    """The model that lines build."""
    names = {"torch": torch}
    exec("\n".join(lines), names)
    return names["model"]


def test_a_function_is_imported():
    assert source_of(Plain(), Plain) == ("from broken_models import Plain", "model = Plain()")
    assert source_of(Plain(), lambda: Plain()) is None
    assert source_of(Plain(), None) is None


def test_long_calls_are_broken():
    lines = broken("f(" + ", ".join(f"argument_{i}={i}" for i in range(12)) + ")")
    assert len(lines) == 2
    assert all(len(line) <= 110 for line in lines)
    assert lines[1].startswith("    ")


def test_texts_are_not_broken():
    line = f"f(text={'word ' * 30!r})"
    assert broken(line) == (line,)


def test_a_model_of_transformers_is_built_from_its_configuration():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    lines = source_of(transformers.LlamaForCausalLM(config), None)
    assert built(lines).config.to_diff_dict() == config.to_diff_dict()


def test_a_sparsified_model_is_sparsified_again(tmp_path):
    transformers = pytest.importorskip("transformers")
    sma = pytest.importorskip("sma")
    fields = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=40, **fields)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    for of in (lambda made: made.model, lambda made: made):  # the body alone, and the model
        made = copy.deepcopy(model)
        sma.sparsify(of(made), parts=("feed_forward", "attention"), rate=0.3)
        lines = source_of(made, None)
        assert lines[-1].endswith("parts=['feed_forward', 'attention'], rate=0.3)")
        assert len(lines) < 9
        again = built(lines)
        assert again.state_dict().keys() == made.state_dict().keys()
        assert all(torch.equal(value, made.state_dict()[key]) for key, value in again.state_dict().items())
    made.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    lines = source_of(loaded, None)
    assert lines[:2] == ("import sma.transformers", "from transformers import AutoModelForCausalLM")
    assert type(built(lines)) is type(loaded)
