"""A small language model in a folder, with a tokenizer and a text."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

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


@pytest.fixture
def llama_folder(tmp_path):
    return write_llama(tmp_path / "dense")


@pytest.fixture
def bert_folder(tmp_path):
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES, vocab_size=18), add_pooling_layer=False).save_pretrained(tmp_path / "bert")
    tokenizer().save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(text(120))
    return path
