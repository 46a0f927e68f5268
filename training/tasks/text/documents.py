"""Predictions of a language model about documents, each read alone."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sma.architectures.files.reading import check_regular
from sma.training.tasks.running import evaluating
from sma.training.tasks.task import IGNORED, Batch
from sma.training.tasks.text.tokenizer import Tokenizer


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, without their ends.

    Raises:
        ValueError: if it cannot be read or holds no text.
    """
    check_regular(path)
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty; name a file that holds text")
    with path.open("rb") as file:
        yield from (line.rstrip(b"\r\n") for line in file)


def score_documents(
    documents: Iterator[bytes], model: nn.Module, tokenizer: Tokenizer, *, length: int, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Bits of each document, and the token that most probably follows.

    Args:
        documents: bytes; each is read after a separator, with no memory of those before.
        model: a language model.
        tokenizer: cuts them into tokens.
        length: a longer document is read in rows of so many tokens.
        batch_size: rows at once.

    Yields:
        `row` (from 1), `n_bytes`, `bits`, `bits_per_byte` (null for none) and `next`.
    """
    number = 0
    while group := list(islice(documents, batch_size)):
        streams = [np.concatenate(([tokenizer.separator], tokenizer.encode(text))) for text in group]
        bits, following = _scored(streams, model, length, batch_size)
        for text, n_bits, token in zip(group, bits, following, strict=True):
            number += 1
            per_byte = n_bits / len(text) if text else None
            yield {
                "row": number,
                "n_bytes": len(text),
                "bits": n_bits,
                "bits_per_byte": per_byte,
                "next": tokenizer.names[token],
            }


@torch.no_grad()
def _scored(
    streams: Sequence[NDArray[Any]], model: nn.Module, length: int, batch_size: int
) -> tuple[list[float], list[int]]:
    """The bits of each stream after its separator, and the most probable token after it."""
    rows = [
        (i, torch.from_numpy(stream[start : start + length + 1].astype(np.int64)))
        for i, stream in enumerate(streams)
        for start in range(0, len(stream), length)
    ]
    bits, following = [0.0] * len(streams), [0] * len(streams)
    like = next(model.parameters())
    with evaluating(model):
        for first in range(0, len(rows), batch_size):
            group = rows[first : first + batch_size]
            batch = _padded([tokens for _, tokens in group], length).to(like)
            scores = batch.scores(model).double().log_softmax(-1).cpu()
            targets = batch.targets.cpu()
            real = targets != IGNORED
            spent = -scores.gather(-1, targets.clamp(min=0)[..., None])[..., 0].masked_fill(~real, 0).sum(1)
            for (i, tokens), nats, each in zip(group, spent.tolist(), scores, strict=True):
                bits[i] += nats / math.log(2)
                following[i] = int(each[min(len(tokens), length) - 1].argmax())
    return bits, following


def _padded(rows: Sequence[Tensor], length: int) -> Batch:
    """Rows of up to `length` inputs, each with the next tokens as targets, where there are any."""
    n = torch.tensor([min(len(row), length) for row in rows])
    width = int(n.max())
    inputs, targets = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        inputs[i, : n[i]] = row[: n[i]]
        targets[i, : len(row) - 1] = row[1:]
    mask = torch.arange(width) < n[:, None]
    return Batch(inputs, targets, None if mask.all() else mask)
