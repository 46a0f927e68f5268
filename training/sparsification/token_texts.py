"""Text files as rows of tokens for a model of transformers: what is distilled on, and what is held out."""

import hashlib
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sma.architectures.files.reading import read_whole
from sma.training.tasks.task import IGNORED

HELD_OUT = 0.1
"""The share of the rows, at least one, that is held out: the last of them."""
_LARGEST = 2**32


@dataclass(frozen=True)
class TokenTexts:
    """Rows of tokens.

    Attributes:
        training: the tokens of each row.
        held_out: the same, of rows that nothing is trained on.
        padding: the token that fills shorter rows.
        padding_side: where: left or right.
        causal: whether the tokens are the labels of what is trained on; those of other models are not known.
    """

    training: list[list[int]]
    held_out: list[list[int]]
    padding: int
    padding_side: str = "right"
    causal: bool = False

    @property
    def hash(self) -> str:
        """A SHA-256 of all rows, which says whether they are those of another time."""
        found = hashlib.sha256()
        for row in (*self.training, (-1,), *self.held_out):
            found.update(array("q", (len(row), *row)).tobytes())
        return found.hexdigest()

    def batches(self, n_rows: int, n_batches: int, *, seed: int) -> Iterator[dict[str, Tensor]]:
        """Batches of rows drawn at random, with their labels if there are any."""
        drawn = random.Random(seed)
        for _ in range(n_batches):
            batch = self.batch([drawn.choice(self.training) for _ in range(n_rows)])
            if self.causal:
                batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
            yield batch

    def held_out_batches(self, n_rows: int, most: int) -> list[dict[str, Tensor]]:
        """The held-out rows, up to a number of them, in batches."""
        rows = self.held_out[:most]
        return [self.batch(rows[i : i + n_rows]) for i in range(0, len(rows), n_rows)]

    def batch(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Rows as a padded batch, with its mask."""
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.padding)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            place = slice(longest - len(row), None) if self.padding_side == "left" else slice(len(row))
            ids[i, place] = torch.tensor(row)
            mask[i, place] = 1
        return {"input_ids": ids, "attention_mask": mask}


def read_token_texts(paths: Sequence[Path], tokenizer: Any, *, length: int, causal: bool) -> TokenTexts:
    """Read text files.

    Args:
        paths: of the files, in UTF-8.
        tokenizer: of transformers.
        length: tokens of a row at most.
        causal: whether rows are pieces of the whole text, one after another; else each line is a row.

    Raises:
        ValueError: if a file cannot be read, or there are fewer than two rows.
    """
    texts = [_read(path) for path in paths]
    if causal:
        each = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
        tokens = [token for row in each for token in row]
        rows = [tokens[i : i + length] for i in range(0, len(tokens) - 1, length)]
    else:
        lines = [line for text in texts for line in text.splitlines() if line.strip()]
        rows = tokenizer(lines, truncation=True, max_length=length)["input_ids"] if lines else []
    rows = [row for row in rows if len(row) > 1]
    if len(rows) < 2:
        raise ValueError(
            f"data has {len(rows)} rows of up to {length} tokens; name more text, or set a smaller length"
        )
    n_held_out = max(1, round(HELD_OUT * len(rows)))
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
    return TokenTexts(rows[:-n_held_out], rows[-n_held_out:], padding, tokenizer.padding_side, causal)


def _read(path: Path) -> str:
    try:
        return read_whole(path, limit=_LARGEST).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); convert it") from None
