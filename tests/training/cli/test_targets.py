"""Models that an argument of the command names, and the lines that build them again."""

import pytest
import torch

import sma
from sma.architectures import save_model, seqboat
from sma.training.cli.targets import function, target_model


def same(target):
    """Whether a target's lines build the model with the same weights."""
    names = {"torch": torch}
    exec("\n".join(("import torch", *target.source)), names)
    again = names["model"].state_dict()
    return all(torch.equal(value, again[name]) for name, value in target.model.state_dict().items())


def test_a_model_folder_of_this_project(tmp_path):
    save_model(seqboat(vocab_size=9, d_model=8, n_layers=1).build(), tmp_path / "model")
    target = target_model(str(tmp_path / "model"))
    assert type(target.model).__name__ == "SequenceModel"
    assert same(target)


def test_a_preset_has_the_weights_of_its_lines():
    assert same(target_model("ssm_only"))


def test_a_folder_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    target = target_model(str(tmp_path / "model"))
    assert type(target.model) is transformers.LlamaForCausalLM
    assert same(target)
    base = target_model(str(tmp_path / "model"), "AutoModel")
    assert type(base.model) is transformers.LlamaModel
    with pytest.raises(ValueError, match="--class LlamaModl: transformers has no such model"):
        target_model(str(tmp_path / "model"), "LlamaModl")


def test_what_sma_sparsify_wrote(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    model = sma.sparsify(transformers.BertForTokenClassification(config), parts=("layer",))
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "report.json").write_text("{}")
    for name in (tmp_path, tmp_path / "model"):
        target = target_model(str(name))
        assert type(target.model) is type(model)
        assert target.source[:2] == (
            "import sma.transformers",
            "from transformers import AutoModelForTokenClassification",
        )
        assert same(target)
    assert type(target_model(str(tmp_path), "AutoModel").model).__name__ == "BertModel"


def test_a_folder_of_this_project_for_transformers(tmp_path):
    pytest.importorskip("transformers")
    from sma.transformers import SMAForCausalLM

    model = SMAForCausalLM.from_model(seqboat(vocab_size=9, d_model=8, n_layers=1).build())
    model.save_pretrained(tmp_path / "model")
    target = target_model(str(tmp_path / "model"))
    assert type(target.model) is SMAForCausalLM
    assert same(target)


def test_functions():
    assert function("math:sqrt")(4) == 2
    assert target_model("collections:Counter").source == (
        "from collections import Counter",
        "model = Counter()",
    )
    for name, message in (
        ("sqrt", "is not MODULE:FUNCTION"),
        ("math:pi", "math has no function 'pi'"),
        ("not_there:f", "there is no module not_there"),
    ):
        with pytest.raises(ValueError, match=message):
            function(name)


def test_a_model_of_the_hub_that_is_not_there(monkeypatch):
    transformers = pytest.importorskip("transformers")

    def absent(name, **options):
        raise OSError(f"{name} is not a valid model identifier. Log in.")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", absent)
    message = (
        "there is no folder no-such/model, and no model of that name could be loaded .no-such/model is not"
    )
    with pytest.raises(ValueError, match=message):
        target_model("no-such/model")
