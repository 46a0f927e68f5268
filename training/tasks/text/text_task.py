"""Language modelling of text: every byte or token of held-out files from those before it."""

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from sma.training.tasks.baselines import order_k_bits, xz_bits
from sma.training.tasks.reading.table_files import is_table, read_table, text_of
from sma.training.tasks.section import Section
from sma.training.tasks.task import IGNORED, Batch, Evaluation, Part, Split, Task
from sma.training.tasks.text.byte_classes import BYTE_CLASSES, CLASS_OF_BYTE
from sma.training.tasks.text.corpus import SEPARATOR, Corpus, TextFile
from sma.training.tasks.text.documents import lines_of, score_documents
from sma.training.tasks.text.streams import encode, streams
from sma.training.tasks.text.tokenizer import Bytes, Tokenizer

BASELINE_BYTES = 2**26
"""Baselines read so many bytes of a split."""


class TextTask(Task):
    """Predict every byte, or every token, of held-out files from those before it.

    A split is one stream: separator, file, separator, file, ... Training rows are windows at random places
    of the training stream. Evaluation cuts the stream into consecutive rows of `evaluation_length`, so a
    token is predicted from at most that many before it, and every one is scored exactly once. The result is
    in bits per byte, whatever the tokens.

    Args:
        corpus: the files.
        title: names the data.
        facts: about the data, added to those that hold for every corpus.
        length: tokens per training row.
        evaluation_length: tokens per evaluation row.
        validation_bytes: validation reads evenly spaced rows of about this many tokens.
        split: how the files were dealt out.
        tokenizer: what text is cut into; None for bytes.
        column: of other files that are tables, which holds their text.

    Raises:
        ValueError: if a split is too short.
    """

    unit = "byte"
    headline = "bits"

    def __init__(
        self,
        corpus: Corpus,
        *,
        title: str,
        facts: dict[str, str],
        length: int,
        evaluation_length: int,
        validation_bytes: int,
        split: str = "whole files, by the hash of their paths",
        tokenizer: Tokenizer | None = None,
        column: str = "text",
    ) -> None:
        self.corpus = corpus
        self.column = column
        self.length = length
        self.evaluation_length = evaluation_length
        self.validation_bytes = validation_bytes
        self.tokenizer = Bytes() if tokenizer is None else tokenizer
        self.n_classes = self.tokenizer.n_tokens
        self.role_names = BYTE_CLASSES if isinstance(self.tokenizer, Bytes) else ()
        self.tokens, sha256 = streams(corpus, self.tokenizer)
        unit = self.tokenizer.unit
        if len(self.tokens["training"]) <= length:
            raise ValueError(
                f"the training files hold {len(self.tokens['training']):,} {unit}s, less than a row of "
                f"length={length}; set a smaller task.length, or add files"
            )
        self.title = title
        self.facts = {
            **facts,
            **self.tokenizer.facts,
            **{f"{name} data": self._sizes(name) for name in self.tokens},
            "split": split,
            "SHA-256 of all files": sha256,
        }

    def _sizes(self, split: str) -> str:
        files, n_tokens = getattr(self.corpus, split), len(self.tokens[split])
        tokens = "" if isinstance(self.tokenizer, Bytes) else f", {n_tokens:,} tokens"
        return f"{len(files):,} files, {self._n_bytes(split):,} bytes{tokens}"

    def _n_bytes(self, split: str) -> int:
        """With one for the separator before each file."""
        files: tuple[TextFile, ...] = getattr(self.corpus, split)
        return sum(file.size for file in files) + len(files)

    @override
    def targets_per_unit(self, split: str) -> float:
        """Tokens per byte."""
        return (len(self.tokens[split]) - 1) / max(self._n_bytes(split) - 1, 1)

    @override
    def element_texts(self, row: Tensor) -> list[str]:
        names = self.tokenizer.names
        return [names[token] for token in row.tolist()]

    @override
    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        return self._rows_from(self._draw(batch_size, generator))

    @override
    def training_part(self, batch_size: int, generator: torch.Generator, rank: int, world: int) -> Part:
        n_elements = batch_size * self.length
        return Part(self._rows_from(self._draw(batch_size, generator)[rank::world]), n_elements, n_elements)

    def _draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Where the rows of a training batch start, `(B, 1)`."""
        n_places = len(self.tokens["training"]) - self.length
        return torch.randint(n_places, (batch_size, 1), generator=generator)

    def _rows_from(self, start: Tensor) -> Batch:
        places = start.numpy() + np.arange(self.length + 1)
        rows = torch.from_numpy(self.tokens["training"][places].astype(np.int64))
        return Batch(rows[:, :-1], rows[:, 1:], roles=self._roles(rows[:, :-1]))

    @override
    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """`batch_size` counts rows of the training length."""
        n_targets = len(self.tokens[split]) - 1
        length = min(self.evaluation_length, n_targets)
        n_all = -(-n_targets // length)
        n_rows = n_all if split == "test" else min(max(self.validation_bytes // length, 1), n_all)
        chosen = torch.arange(n_rows) * n_all // n_rows
        n_together = max(batch_size * self.length // length, 1)
        for first in range(0, n_rows, n_together):
            group = chosen[first : first + n_together].tolist()
            rows = [self._row(split, i * length, length) for i in group]
            inputs, targets = (torch.stack(part) for part in zip(*rows, strict=True))
            mask = targets != IGNORED
            yield Batch(inputs, targets, None if mask.all() else mask, self._roles(inputs))

    def _roles(self, inputs: Tensor) -> Tensor | None:
        """The classes of bytes; tokens of other kinds have none."""
        return torch.from_numpy(CLASS_OF_BYTE)[inputs] if self.role_names else None

    def _row(self, split: str, start: int, length: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets; at the end of the stream, padded."""
        row = torch.from_numpy(self.tokens[split][start : start + length + 1].astype(np.int64))
        spare = length + 1 - len(row)
        return nn.functional.pad(row[:-1], (0, spare)), nn.functional.pad(row[1:], (0, spare), value=IGNORED)

    @override
    def on_file(self, path: Path) -> "TextTask":
        """Of a table, the texts in `column`."""
        content = (
            SEPARATOR.join(self._documents(path)) if is_table(path) else TextFile(path.name, path).content
        )
        if not content:
            raise ValueError(f"{path} holds no text; name a file that does")
        other = copy(self)
        file = TextFile(path.name, content)
        other.corpus = replace(self.corpus, test=(file,))
        separator = np.array([self.tokenizer.separator], self.tokenizer.dtype)
        other.tokens = {**self.tokens, "test": np.concatenate((separator, encode(content, self.tokenizer)))}
        return other

    @override
    def predictions(self, model: nn.Module, path: Path, batch_size: int) -> Iterator[dict[str, Any]]:
        """Of each line of a file, or each row of a table: its bits, and the most probable next token."""
        length, documents = self.evaluation_length, self._documents(path)
        return score_documents(documents, model, self.tokenizer, length=length, batch_size=batch_size)

    def _documents(self, path: Path) -> Iterator[bytes]:
        if not is_table(path):
            return lines_of(path)
        return (text_of(row, self.column) for row in read_table(path, [self.column]))

    @override
    def baselines(self) -> dict[str, float]:
        training, test = _first_bytes(self.corpus.training), _first_bytes(self.corpus.test)[1:]
        of = f", of the first {BASELINE_BYTES:,} bytes"
        of = of if max(len(training), len(test)) >= BASELINE_BYTES - 1 else ""
        return {
            f"bytes alone (order 0){of}": order_k_bits(training, test, order=0),
            f"two bytes before (order 2){of}": order_k_bits(training, test, order=2),
            f"xz -9e of the test bytes alone{of}": xz_bits(test),
        }

    @override
    def sections(self, model: nn.Module, test: Evaluation) -> list[Section]:
        """Held-out text, tinted by activations."""
        from sma.training.tasks.text.text_section import text_sections

        return text_sections(self.corpus.test, model, self.tokenizer)


def _first_bytes(files: tuple[TextFile, ...]) -> NDArray[Any]:
    """The first `BASELINE_BYTES` of a stream of bytes."""
    parts, missing = [], BASELINE_BYTES
    for file in files:
        for block in chain((SEPARATOR,), file.blocks()):
            parts.append(block[:missing])
            missing -= len(parts[-1])
            if not missing:
                return np.frombuffer(b"".join(parts), np.uint8)
    return np.frombuffer(b"".join(parts), np.uint8)
