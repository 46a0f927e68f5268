"""Rows of text files: pieces of the whole, or lines; padding on the tokenizer's side."""

from dataclasses import replace

import pytest

from sma.training.sparsification.token_texts import read_token_texts

from .conftest import text, tokenizer


def test_pieces_are_the_whole_text(data):
    texts = read_token_texts([data, data], tokenizer(), length=7, causal=True)
    whole = [token for row in (*texts.training, *texts.held_out) for token in row]
    once = tokenizer()(text(120))["input_ids"]
    assert whole == (once + once)[: len(whole)]
    assert len(whole) >= 2 * len(once) - 1
    assert len(texts.held_out) == round(0.1 * len(texts.training + texts.held_out))


def test_lines_are_rows(data):
    texts = read_token_texts([data], tokenizer(), length=5, causal=False)
    wanted = [tokenizer()(line)["input_ids"][:5] for line in text(120).splitlines()]
    assert texts.training + texts.held_out == wanted


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_padded(data, side):
    named = tokenizer()
    named.padding_side = side
    texts = read_token_texts([data], named, length=5, causal=False)
    batch = texts.batch([[3, 4, 5], [6, 7]])
    ids, mask = ([[3, 4, 5], [1, 6, 7]], [[1, 1, 1], [0, 1, 1]])
    if side == "right":
        ids, mask = ([[3, 4, 5], [6, 7, 1]], [[1, 1, 1], [1, 1, 0]])
    assert batch["input_ids"].tolist() == ids
    assert batch["attention_mask"].tolist() == mask


def test_batches_are_those_of_their_seed(data):
    texts = read_token_texts([data], tokenizer(), length=5, causal=False)
    first, again, other = (list(texts.batches(3, 4, seed=seed)) for seed in (0, 0, 1))
    assert len(first) == 4
    assert all((a["input_ids"].equal(b["input_ids"])) for a, b in zip(first, again, strict=True))
    assert not all(a["input_ids"].equal(b["input_ids"]) for a, b in zip(first, other, strict=True))
    held = texts.held_out_batches(5, 7)
    assert [len(batch["input_ids"]) for batch in held] == [5, 2]


def test_other_rows_have_another_hash(data):
    texts, again, shorter, unlike = (
        read_token_texts([data], tokenizer(), length=length, causal=causal)
        for length, causal in ((5, False), (5, False), (4, False), (5, True))
    )
    assert texts.hash == again.hash
    last = replace(texts, training=[*texts.training, texts.held_out[0]], held_out=texts.held_out[1:])
    assert len({each.hash for each in (texts, shorter, unlike, last)}) == 4


def test_errors(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("the cat")
    with pytest.raises(ValueError, match="data has 1 rows of up to 9 tokens"):
        read_token_texts([path], tokenizer(), length=9, causal=True)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8"):
        read_token_texts([path], tokenizer(), length=9, causal=True)
