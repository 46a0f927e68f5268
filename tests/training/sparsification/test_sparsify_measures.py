"""Measures of a sparsified model: time in turns with the dense one, and tokens by their texts."""

import time

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import sma
from sma.training.sparsification import sparsify_measures
from sma.training.sparsification.sparsify_measures import measure, pass_seconds

from .conftest import SIZES


def test_tokens_are_named_by_their_texts():
    """Not by a tokenizer's own way to write a space; what reads alike is one."""
    vocabulary = {"\u0120if": 0, "if": 1, "\u0120N": 2}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_byte_level(vocabulary))
    torch.manual_seed(0)
    dense = LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, vocab_size=3)).eval()
    ids = torch.tensor([[1, 0, 2, 0, 2, 0, 2]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found = measure("learned", sma.sparsify(dense), dense, [batch], tokenizer)
    assert found.tokens == {" if": 1.0, " N": 1.0}  # "if" is there once


def _byte_level(vocabulary):
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return inner


class Slow:
    """Spends processor time, more of it at first; its calls are logged."""

    def __init__(self, name, calls, seconds):
        self.name, self.calls, self.seconds = name, calls, seconds

    def __call__(self, **batch):
        self.calls.append(self.name)
        end = time.process_time() + self.seconds * (10 if self.calls.count(self.name) == 1 else 1)
        while time.process_time() < end:
            pass


def test_seconds_are_the_best_of_passes_in_turns(monkeypatch):
    calls = []
    models = [Slow("a", calls, 0.004), Slow("b", calls, 0.002)]
    found = pass_seconds(models, [{}])
    assert calls == ["a", "b"] * 9
    assert found == [pytest.approx(0.004, rel=0.5), pytest.approx(0.002, rel=0.5)]
    calls.clear()
    monkeypatch.setattr(sparsify_measures, "ENOUGH", 0.0)
    pass_seconds(models, [{}, {}])
    assert calls == ["a", "a", "b", "b"] * 3


def test_time_is_that_beside_the_dense_model(monkeypatch):
    monkeypatch.setattr(sparsify_measures, "pass_seconds", lambda models, batches: [3.0, 4.0][-len(models) :])
    dense = LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, vocab_size=3)).eval()
    ids = torch.tensor([[1, 0, 2]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_byte_level({"a": 0, "b": 1, "c": 2}))
    alone = measure("dense", dense, dense, [batch], tokenizer)
    assert (alone.seconds, alone.time, alone.parts) == (4.0, 1.0, 1.0)
    other = measure("learned", LlamaForCausalLM(dense.config).eval(), dense, [batch], tokenizer)
    assert (other.seconds, other.time) == (3.0, 0.75)
