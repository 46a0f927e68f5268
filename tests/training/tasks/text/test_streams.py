"""Streams of tokens: those of the cache equal those in memory, and are made once."""

import numpy as np
import pytest
import torch

from sma.training.generators import cache
from sma.training.tasks.text import streams as module
from sma.training.tasks.text.corpus import TextFile
from sma.training.tasks.text.streams import _blocks
from sma.training.tasks.text.text_files import TextFilesSpec


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SMA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "text"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.txt").write_text("".join(f"line {j} of {i}, naïve\n" for j in range(30)))
    return folder


def build(root):
    return TextFilesSpec(folder=str(root), length=16, evaluation_length=40).build()


def test_a_mapped_corpus_equals_one_in_memory(root, monkeypatch):
    there = build(root)
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    monkeypatch.setattr(module, "BLOCK", 100)
    mapped = build(root)
    assert isinstance(mapped.tokens["training"], np.memmap)
    assert not isinstance(there.tokens["training"], np.memmap)
    assert mapped.facts == there.facts
    for split, tokens in there.tokens.items():
        assert np.array_equal(tokens, mapped.tokens[split])
    for first, second in zip(
        there.evaluation_batches("test", 2), mapped.evaluation_batches("test", 2), strict=True
    ):
        assert torch.equal(first.inputs, second.inputs)
    batches = [task.training_batch(3, torch.Generator().manual_seed(5)).inputs for task in (there, mapped)]
    assert torch.equal(*batches)


def test_it_is_made_once_and_anew_when_a_file_changes(root, monkeypatch):
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    made = []
    write = cache.write_split
    monkeypatch.setattr(module, "write_split", lambda *args: made.append(args[1]) or write(*args))
    first, again = build(root), build(root)
    assert made == ["training", "validation", "test"]
    (root / "0.txt").write_text("changed\n" * 50)
    changed = build(root)
    assert len(made) == 6
    hashes = [task.facts["SHA-256 of all files"] for task in (first, again, changed)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("text", ["line\nsecond line\n\nlast", "äöü€𝄞" * 9, "", "no end of a line"])
@pytest.mark.parametrize("size", [1, 3, 4, 7, 1000])
def test_blocks_cut_no_character(text, size):
    blocks = list(_blocks(TextFile("a", text.encode()), size))
    assert b"".join(blocks) == text.encode()
    assert "".join(block.decode() for block in blocks) == text


def test_blocks_of_bytes_that_are_not_text():
    content = bytes(range(256)) + b"\x80" * 50 + b"\xff" * 20
    assert b"".join(_blocks(TextFile("a", content), 7)) == content
