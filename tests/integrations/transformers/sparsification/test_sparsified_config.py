"""The configuration of sparsified models: dense classes refuse it, whoever wrote it."""

import copy
import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    LlavaForConditionalGeneration,
    T5EncoderModel,
)

from sma.transformers.sparsification import routed_parts, sparsify

from .conftest import scramble, tiny, tiny_llava

PARTS = (("feed_forward",), ("attention",), ("layer",))


@pytest.mark.parametrize("loaded", [LlamaForCausalLM, LlamaModel, BertModel, LlamaConfig, T5EncoderModel])
def test_dense_classes_refuse_the_folder_with_a_remedy(loaded, tmp_path):
    """They know nothing of this package, so that it is the same where it is not installed."""
    sparsify(tiny("llama"), parts=("layer",)).save_pretrained(tmp_path)
    with pytest.raises(StrictDataclassError, match=r"made by sma\.sparsify: import sma\.transformers"):
        loaded.from_pretrained(tmp_path)


@pytest.mark.parametrize("parts", PARTS)
def test_the_body_of_a_model_is_saved_with_it(parts, batch, tmp_path):
    model = tiny("llama")
    scramble(sparsify(model.model, parts=parts), in_full=False)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert len(routed_parts(loaded)) == 2
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits)


def test_a_composite_model_whose_text_model_alone_is_sparsified_is_not_loaded_as_dense(tmp_path):
    model = tiny_llava()
    sparsify(model.model.language_model)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="sparsify the whole dense model by the same spec, with only="):
        LlavaForConditionalGeneration.from_pretrained(tmp_path)


def test_a_model_of_the_same_configuration_stays_dense(tmp_path):
    config = tiny("llama").config
    dense, other = LlamaForCausalLM(config), LlamaForCausalLM(config)
    sparsify(other, parts=("attention",))
    dense.save_pretrained(tmp_path / "dense")
    loaded = LlamaForCausalLM.from_pretrained(tmp_path / "dense")
    assert all(torch.equal(value, dense.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert dense.config._attn_implementation == "sdpa"
    sparsify(LlamaForCausalLM(config).model)  # it could be the body of any of them
    dense.save_pretrained(tmp_path / "shared")
    with pytest.raises(ValueError, match=r"has no model\.layers\.0\.mlp.*configuration of its own"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "shared")


def test_a_refusal_leaves_the_configuration():
    model = tiny("llama")
    config = model.config
    with pytest.raises(ValueError, match="matches no"):
        sparsify(model, only=("nowhere.*",))
    assert all(module.config is config for module in model.modules() if hasattr(module, "config"))
    assert not hasattr(config, "sparsify")


def test_what_is_given_beside_goes_to_the_model(tmp_path):
    model = sparsify(tiny("llama"), parts=("attention",))
    model.save_pretrained(tmp_path)
    given = {"attn_implementation": "eager", "use_cache": False, "output_attentions": True}
    for loads in (AutoModelForCausalLM, type(model)):
        config = loads.from_pretrained(tmp_path, **given, dtype=torch.float64).config
        assert (config.use_cache, config.output_attentions, config.dtype) == (False, True, torch.float64)
        assert config._attn_implementation.endswith("eager")


def test_configurations_are_copied_and_written_again(tmp_path):
    model = sparsify(tiny("llama"))
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    copy.deepcopy(config).save_pretrained(tmp_path / "again")
    copy.deepcopy(model.config).save_pretrained(tmp_path / "own")
    written, *others = (
        json.loads((folder / "config.json").read_text())
        for folder in (tmp_path, tmp_path / "again", tmp_path / "own")
    )
    assert all(other == written for other in others)
    assert "model_type" not in written["base"]  # transformers would take what is nested for its own
    assert type(model.config).__name__ == "LlamaConfig"
    assert model.config.to_dict()["model_type"] == "llama"  # as PEFT reads it
    assert "id2label" not in repr(model.config)
