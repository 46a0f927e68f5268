"""Tokens as pieces of the decoded text, and what they are, with tokenizers of three kinds."""

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertTokenizer, PreTrainedTokenizerFast

from sma.training.sparsification.token_pieces import TOKEN_CLASSES, token_classes, token_pieces

from ..sparsification.conftest import tokenizer


def named(tokenizer: Any, tokens: list[int]) -> list[tuple[str, str]]:
    pieces = token_pieces(tokenizer, tokens)
    return [
        (piece, TOKEN_CLASSES[i])
        for piece, i in zip(pieces, token_classes(tokenizer, tokens, pieces), strict=True)
    ]


def test_whole_words() -> None:
    words = "the cat sat on a big red mat and ran to the house"
    tokens = tokenizer()(words)["input_ids"]
    assert "".join(token_pieces(tokenizer(), tokens)) == words  # more words than are decoded at once
    assert {kind for _, kind in named(tokenizer(), tokens)} == {"start of a word"}


def test_pieces_of_bytes() -> None:
    """Each byte is a token: parts of characters are shown where the character ends."""
    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(alphabet, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    bytes_ = PreTrainedTokenizerFast(tokenizer_object=inner)
    found = named(bytes_, bytes_("if\n 4é =")["input_ids"])
    assert found == [
        ("i", "start of a word"), ("f", "inside a word"), ("\n", "space"), (" ", "space"), ("4", "digits"),
        ("\ufffd", "other"), ("é", "inside a word"), (" ", "space"), ("=", "punctuation"),
    ]  # fmt: skip


def test_pieces_of_words(tmp_path: Any) -> None:
    words = ["[UNK]", "[CLS]", "[SEP]", "play", "##ing", ",", "we", "42", "##nd"]
    bert = BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    found = named(bert, bert("playing, we 42nd")["input_ids"])
    assert [(piece.strip(), kind) for piece, kind in found] == [
        ("[CLS]", "special"), ("play", "start of a word"), ("ing", "inside a word"), (",", "punctuation"),
        ("we", "start of a word"), ("42", "digits"), ("nd", "inside a word"), ("[SEP]", "special"),
    ]  # fmt: skip
