"""Pipelines of transformers with models of this project, and a tokenizer.json."""

import logging

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, pipeline
from transformers.utils.logging import get_logger

from sma.architectures import parse_spec
from sma.transformers import (
    SMAConfig,
    SMAForCausalLM,
    SMAForSequenceClassification,
    SMAForTokenClassification,
)

WORDS = ["<pad>", "<eos>", "<unk>", "the", "cat", "sat", "on", "mat"]


@pytest.fixture
def folder(tmp_path):
    """With a tokenizer.json over words."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(path), pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    fast.save_pretrained(tmp_path)
    return tmp_path


def save(cls, spec, folder, **head):
    torch.manual_seed(0)
    values = spec.model_dump(mode="json") | {"embedding": {"kind": "tokens", "vocab_size": len(WORDS)}}
    model = cls(SMAConfig(spec=parse_spec(values | ({"head": head} if head else {}))))
    model.save_pretrained(folder)


@pytest.fixture(autouse=True)
def complaints():
    """Errors that transformers logs instead of raising, such as about a model that a task does not know."""
    found = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = found.append
    get_logger().addHandler(handler)
    yield
    get_logger().removeHandler(handler)
    assert [record.getMessage() for record in found] == []


def test_text_generation_from_a_folder(spec, folder):
    save(SMAForCausalLM, spec, folder)
    write = pipeline("text-generation", model=str(folder))
    assert type(write.model) is SMAForCausalLM
    (text,) = write("the cat", max_new_tokens=4, do_sample=False)
    assert text["generated_text"].startswith("the cat")
    assert len(text["generated_text"]) > len("the cat")
    together = write(["the cat sat on", "the"], batch_size=2, max_new_tokens=4, do_sample=False)
    alone = [write(prompt, max_new_tokens=4, do_sample=False) for prompt in ("the cat sat on", "the")]
    assert together == alone


def test_classification_of_texts(spec, folder):
    save(SMAForSequenceClassification, spec, folder, kind="classifier", n_classes=3)
    classify = pipeline("text-classification", model=str(folder), top_k=None)
    texts = ["the cat sat", "mat"]
    for scores, alone in zip(classify(texts, batch_size=2), map(classify, texts), strict=True):
        assert {score["label"] for score in scores} == {"LABEL_0", "LABEL_1", "LABEL_2"}
        torch.testing.assert_close(sum(score["score"] for score in scores), 1.0)
        best = alone[0] if isinstance(alone[0], dict) else alone[0][0]
        torch.testing.assert_close(scores[0]["score"], best["score"])


def test_classification_of_tokens(spec, folder):
    save(SMAForTokenClassification, spec, folder, kind="node_classifier", n_classes=3)
    label = pipeline("token-classification", model=str(folder), ignore_labels=[])
    found = label("the cat sat")
    assert [token["word"] for token in found] == ["the", "cat", "sat"]
    assert {token["entity"] for token in found} <= {"LABEL_0", "LABEL_1", "LABEL_2"}


def test_features_of_texts(spec, folder):
    save(SMAForCausalLM, spec, folder)
    features = pipeline("feature-extraction", model=str(folder))("the cat sat", return_tensors=True)
    assert features.shape == (1, 3, 16)
