"""Language modelling of a column of text."""

import numpy as np
import pytest
import torch

from sma.architectures import parse_spec
from sma.training.evaluation import evaluate
from sma.training.tasks.tables import TableTextSpec
from tests.training.tables import write_csv, write_jsonl


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SMA_CACHE", str(tmp_path / "cache"))


def build(path, **fields):
    values = {"train": str(path), "text": "body", "length": 8, "evaluation_length": 32, **fields}
    return TableTextSpec.model_validate(values).build()


def test_every_text_is_in_one_stream(tmp_path):
    texts = [f"text number {i}\nof many" for i in range(50)]
    write_jsonl(tmp_path / "a.jsonl", [{"body": text} for text in texts] + [{"body": None}, {"body": ""}])
    task = build(tmp_path / "a.jsonl")
    found = [bytes(tokens).split(b"\0")[1:] for tokens in task.tokens.values()]
    assert all(found)
    assert sorted(text.decode() for part in found for text in part) == sorted(texts)
    left_out = sum(
        int(fact.split("and ")[1].split()[0]) for fact in task.facts.values() if "without text" in fact
    )
    assert left_out == 2


def test_tokens_know_where_a_text_begins(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"a": 0, "b": 1, "</s>": 2}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="a"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "words.json"))
    for name in ("train", "valid", "test"):
        write_csv(tmp_path / f"{name}.csv", [{"body": "a b a"}, {"body": "b b"}] * 4)
    task = build(tmp_path, tokenizer=str(tmp_path / "words.json"), train=str(tmp_path / "*.csv"))
    assert np.array_equal(task.tokens["test"], [2, 0, 1, 0, 2, 1, 1] * 4)


def test_other_files(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"body": f"text number {i}"} for i in range(50)])
    task = build(tmp_path / "a.jsonl")
    model = parse_spec({"preset": "seqboat", "vocab_size": 256, "d_model": 8, "n_layers": 1}).build()
    texts = ["some words", "", "a text that is longer than a row of the evaluation, by far"]
    write_csv(tmp_path / "b.csv", [{"body": text, "n": 1} for text in texts])
    (tmp_path / "b.txt").write_text("".join(f"{text}\n" for text in texts))
    found = list(task.predictions(model, tmp_path / "b.csv", 2))
    assert found == list(task.predictions(model, tmp_path / "b.txt", 2))
    assert [row["n_bytes"] for row in found] == [len(text) for text in texts]
    with torch.no_grad():
        scores = model.eval()(torch.tensor([[0, *texts[0].encode()]]))[0].log_softmax(-1)
    bits = -sum(float(scores[i, byte]) for i, byte in enumerate(texts[0].encode())) / np.log(2)
    assert found[0]["bits"] == pytest.approx(bits, abs=1e-3)
    assert found[0]["bits_per_byte"] == pytest.approx(bits / len(texts[0]), abs=1e-4)
    assert found[0]["next"] == chr(int(scores[-1].argmax()))
    assert (found[1]["bits"], found[1]["bits_per_byte"]) == (0, None)
    other = task.on_file(tmp_path / "b.csv")
    assert bytes(other.tokens["test"]) == b"\0" + "\0".join(texts).encode()
    assert evaluate(model, other, "test", batch_size=2).n_targets == len("\0".join(texts))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"body": 3}] * 40, "a.jsonl, line 1: 'body' is 3, not text"),
        ([{"body": ""}] * 2 + [{"body": None}] * 2, "training split"),
        ([{"text": "x"}], "a.jsonl, line 1, lacks 'body'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, rows, message):
    for name in "abc":
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    with pytest.raises(ValueError, match=message):
        build(tmp_path / "a.jsonl", validation=str(tmp_path / "b.jsonl"), test=str(tmp_path / "c.jsonl"))


def test_damaged_prepared_data_are_told(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"body": f"text number {i}"} for i in range(50)])
    task = build(tmp_path / "a.jsonl")
    path = task.corpus.test[0].source
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"prepared data in .* are damaged .*remove that folder"):
        build(tmp_path / "a.jsonl")
    path.unlink()
    with pytest.raises(ValueError, match=r"prepared data in .* are damaged .*remove that folder"):
        build(tmp_path / "a.jsonl")
