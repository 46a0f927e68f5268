import sys

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from sma.architectures import load_model, save_model, seqboat
from sma.spec.registry import find
from sma.training import Run
from sma.training.cli.exports import text_tokenizer
from sma.training.generation import generate
from sma.training.tasks import TaskSpec
from sma.transformers import ByteTokenizer


def test_a_run_is_exported(sma, run, tmp_path):
    out = tmp_path / "folder"
    result = sma("export", run, out)
    assert result.exit_code == 0, result.output
    assert "SMAForCausalLM, " in result.output
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    best = load_model(run / "best")
    assert model.model.spec == best.spec
    tokens = tokenizer("line 3", return_tensors="pt").input_ids
    assert torch.equal(model(tokens).logits, best(tokens))
    text = model.generate(tokens, max_new_tokens=8, do_sample=False)[0, tokens.shape[1] :].tolist()
    ours = list(generate(best, b"line 3", n_tokens=8, temperature=0))
    assert text[: len(ours)] == ours
    assert model.generation_config.eos_token_id == 0
    card = (out / "README.md").read_text()
    results = Run.open(run).results()
    assert f"| test bits per byte | {results.value:.4f} |" in card
    assert f"# Trained on {Run.open(run).facts().task}" in card
    assert all(f"| {layer} |" in card for layer in results.test.activation_rates)
    assert "SHA-256" in card
    folder = Run.open(run).facts().data["folder"]
    assert folder.startswith("/")
    assert folder not in card
    assert "d_model: 8" in card


def test_a_folder_of_a_model_is_exported(sma, tmp_path):
    """As `sma import` makes it of published weights."""
    model = seqboat(vocab_size=9, d_model=8, n_layers=1, n_classes=3, d_qk=4, d_state=2).build()
    save_model(model, tmp_path / "model")
    assert sma("export", tmp_path / "model", tmp_path / "out").exit_code == 0
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokens = torch.randint(9, (2, 5))
    assert torch.equal(loaded(tokens).logits, model.eval()(tokens))
    assert not (tmp_path / "out" / "tokenizer_config.json").exists()


def test_wrong_folders_are_named(sma, run, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    result = sma("export", run, tmp_path / "there")
    assert (result.exit_code, "exists already; name a new folder" in result.output) == (2, True)
    result = sma("export", tmp_path / "there", tmp_path / "out")
    assert (result.exit_code, "is not the folder of a run" in result.output) == (2, True)
    for name in [name for name in sys.modules if name.startswith("sma.transformers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = sma("export", run, tmp_path / "out")
    assert (result.exit_code, "'sparse-modular-activation[transformers]'" in result.output) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def words(tmp_path):
    """A tokenizer.json over words; without a token for the end of a text."""
    tokenizer = Tokenizer(models.WordLevel({"the": 0, "cat": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def task(kind, **fields):
    return find(TaskSpec, kind).model_construct(kind=kind, **fields)


def test_the_tokenizer_reads_text_as_the_task_does(words):
    streamed = text_tokenizer(task("text_files", folder="x", tokenizer=None))
    assert type(streamed) is ByteTokenizer
    assert streamed("a").input_ids == [0, 97]
    classified = text_tokenizer(task("table_classification", form="text", tokenizer=None))
    assert classified("a").input_ids == [97]
    assert text_tokenizer(task("news"))("a").input_ids == [97]
    assert text_tokenizer(task("table_classification", form="features")) is None
    assert text_tokenizer(task("digits")) is None
    other = text_tokenizer(task("text_files", folder="x", tokenizer=str(words)))
    assert other("the cat").input_ids == [0, 1]
    assert other.eos_token_id == 3
