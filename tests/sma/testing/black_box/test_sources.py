"""The lines of Python that build a model."""

import pytest
from broken_models import Plain

from sma.testing.black_box.sources import broken, source_of


def test_a_function_is_imported():
    assert source_of(Plain(), Plain) == ("from broken_models import Plain", "model = Plain()")
    assert source_of(Plain(), lambda: Plain()) is None
    assert source_of(Plain(), None) is None


def test_long_calls_are_broken():
    lines = broken("f(" + ", ".join(f"argument_{i}={i}" for i in range(12)) + ")")
    assert len(lines) == 2
    assert all(len(line) <= 110 for line in lines)
    assert lines[1].startswith("    ")


def test_a_model_of_transformers_is_built_from_its_configuration():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    lines = source_of(transformers.LlamaForCausalLM(config), None)
    names = {"torch": __import__("torch")}
    exec("\n".join(lines), names)
    assert names["model"].config.to_diff_dict() == config.to_diff_dict()
