"""Held-out text in the report: what is shown, and what it activated."""

from collections.abc import Callable

import torch

from sma.training import Run
from sma.training.tasks.text.corpus import TextFile
from sma.training.tasks.text.text_section import activations, characters, excerpt
from sma.training.tasks.text.tokenizer import Bytes
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]


def test_excerpts_show_the_file_and_the_activations(make: Make) -> None:
    trainer, _ = make()
    content = "".join(f"naïve line {i}\n" for i in range(100)).encode()
    texts, found = excerpt(TextFile("a.txt", content), trainer.model, Bytes())
    assert found.names == ("layer 1, GAU", "layer 2, GAU")
    text = "".join(texts)
    assert text in content.decode()
    active = activations(trainer.model, Bytes().encode(content), 0)
    place = content.index(text.encode())
    for character, activated in zip(texts, found.active, strict=True):
        assert torch.equal(activated, active.active[place])
        place += len(character.encode())


def test_bytes_that_are_not_text_are_shown_one_by_one() -> None:
    assert characters("aé".encode()) == [("a", 1), ("é", 2)]
    assert [size for _, size in characters(b"a\xff\xfe")] == [1, 1, 1]
