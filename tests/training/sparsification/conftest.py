"""A small language model in a folder, with a tokenizer and a text."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sma.training.sparsification.sparsify_run import load_dense
from sma.training.sparsification.token_texts import read_token_texts
from sma.transformers import routed_parts, sparsify
from sma.transformers.sparsification.probe import is_causal

WORDS = [
    "the",
    "of",
    "a",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "ran",
    "to",
    "house",
    "and",
    "saw",
    "big",
    "red",
    "sun",
]
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer():
    words = {word: i for i, word in enumerate(["[UNK]", "[PAD]", *WORDS])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]")


def text(n_lines):
    drawn = torch.Generator().manual_seed(0)
    lines = []
    for _ in range(n_lines):
        length = int(torch.randint(3, 9, (1,), generator=drawn))
        lines.append(" ".join(WORDS[int(i)] for i in torch.randint(len(WORDS), (length,), generator=drawn)))
    return "\n".join(lines) + "\n"


def write_llama(folder):
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, num_key_value_heads=2, vocab_size=18, bos_token_id=None, eos_token_id=None)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def write_bert(folder):
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES, vocab_size=18), add_pooling_layer=False).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def write_sparsified(folder, dense, data, *, seed=0, **spec):
    """What `sma sparsify` writes, without training: all weights are disturbed, and routers choose."""
    model, named = load_dense(str(dense))
    sparsify(model, **spec)
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=drawn))
        for part in routed_parts(model).values():
            projection = part.router.router.router.projection  # of the sigmoid router
            projection.weight.normal_(std=1.5, generator=drawn)
            projection.bias.zero_()
    model.save_pretrained(folder / "model")
    named.save_pretrained(folder / "model")
    texts = read_token_texts([data], named, length=12, causal=is_causal(model))
    values = {"model": str(dense), "data": [str(data)], "data_hash": texts.hash, "length": 12}
    (folder / "report.json").write_text(json.dumps(values | {"spec": model.config.sparsify}))
    return folder


@pytest.fixture
def llama_folder(tmp_path):
    return write_llama(tmp_path / "dense")


@pytest.fixture
def bert_folder(tmp_path):
    return write_bert(tmp_path / "bert")


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(text(120))
    return path
