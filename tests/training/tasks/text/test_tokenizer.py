"""Tokens of a tokenizer.json: the stream, bits per byte, a run with its report, and errors."""

import json
import math
import sys

import pytest
import torch
from torch import nn

from sma.training import TrainSpec, train
from sma.training.evaluation import evaluate
from sma.training.tasks.text.text_files import TextFilesSpec
from sma.training.tasks.text.tokenizer import Bytes, open_tokenizer

tokenizers = pytest.importorskip("tokenizers")
TEXT = "naïve words and other words\nso many words\n"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SMA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "text"
    folder.mkdir()
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text(f"{name} {TEXT}" * 20)
    return folder


@pytest.fixture
def path(tmp_path):
    """Byte-pair encoding, as that of GPT-2."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([TEXT], trainer)
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def values(root, path, **fields):
    return {
        "kind": "text_files",
        "folder": str(root),
        "tokenizer": str(path),
        "length": 16,
        "evaluation_length": 64,
        **fields,
    }


def build(root, path):
    return TextFilesSpec.model_validate(values(root, path)).build()


def test_the_stream_is_that_of_the_library(root, path):
    task = build(root, path)
    library = tokenizers.Tokenizer.from_file(str(path))
    assert task.n_classes == library.get_vocab_size()
    tokens = task.tokens["test"].tolist()
    assert tokens[0] == library.token_to_id("<|endoftext|>")
    assert tokens[1:] == library.encode((root / "test.txt").read_text()).ids
    assert library.decode(tokens[1:]) == (root / "test.txt").read_text()


def test_uniform_scores_cost_their_bits_per_byte(root, path):
    class Uniform(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(n))

        def forward(self, inputs, mask=None):
            return self.scores.expand(*inputs.shape, -1)

    task = build(root, path)
    found = evaluate(Uniform(task.n_classes), task, "test", batch_size=2)
    n_bytes = (root / "test.txt").stat().st_size
    assert found.n_units == n_bytes
    assert found.n_targets == len(task.tokens["test"]) - 1 < n_bytes
    assert found.bits == pytest.approx(found.n_targets * math.log2(task.n_classes) / n_bytes)


def test_bytes_are_their_own_unit(root):
    task = TextFilesSpec(folder=str(root), length=16).build()
    assert isinstance(task.tokenizer, Bytes)
    assert task.targets_per_unit("training") == task.targets_per_unit("test") == 1


def test_a_run_reports_bits_per_byte(root, path, tmp_path):
    n_tokens = open_tokenizer(str(path)).n_tokens
    model = {
        "preset": "seqboat",
        "vocab_size": n_tokens,
        "d_model": 8,
        "n_layers": 1,
        "d_qk": 4,
        "d_hidden": 8,
    }
    spec = TrainSpec.model_validate(
        {"task": values(root, path), "model": model, "steps": 2, "batch_size": 2, "validation_interval": 2}
    )
    run, ending = train(spec, root=tmp_path / "runs")
    assert ending == "finished"
    found = run.results()
    assert found.unit == "byte"
    assert found.test.n_units == (root / "test.txt").stat().st_size
    assert found.value == pytest.approx(found.test.loss / math.log(2) * found.test.targets_per_unit)
    report = (run.path / "report.html").read_text()
    assert f"{found.test.n_units:,} held-out bytes" in report
    row = next(row for row in run.metrics() if row["split"] == "validation")
    assert row["bits"] < row["loss"] / math.log(2)


def test_a_tokenizer_without_an_end_gets_one(tmp_path):
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    path = tmp_path / "words.json"
    made.save(str(path))
    tokenizer = open_tokenizer(str(path))
    assert (tokenizer.n_tokens, tokenizer.separator) == (3, 2)


def test_pieces_are_the_text(path):
    tokens, pieces = open_tokenizer(str(path)).pieces("naïve €words".encode())
    assert len(tokens) == len(pieces)
    assert "".join(pieces) == "naïve €words"


def test_what_is_wrong_is_named(root, path, tmp_path, monkeypatch):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"model": "?"}))
    for content, message in (
        (wrong, "wrong.json is not a tokenizer.json of the tokenizers library"),
        (tmp_path / "none.json", "there is no file .*none.json"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            build(root, content)
        assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"needs the package tokenizers .*activation\[tokenizers\]'$"):
        build(root, path)
