"""A split of a corpus as one stream of tokens, in memory or mapped from a file of the cache."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sma.training.generators.cache import cached, load_arrays, progress, write_split
from sma.training.generators.chunks import Chunk
from sma.training.tasks.text.corpus import BLOCK, SEPARATOR, Corpus, TextFile
from sma.training.tasks.text.tokenizer import Bytes, Tokenizer

IN_MEMORY = 2**28
"""Bytes of a corpus that are kept in memory; a larger one is mapped from a file."""

TOKENIZED = 2**20
"""Bytes that are given to a tokenizer at once, up to the end of a line."""

SPLITS = ("training", "validation", "test")


class Streams(NamedTuple):
    """The tokens of each split, `separator, file, separator, file, ...`, and the hash of all files."""

    tokens: dict[str, NDArray[Any]]
    sha256: str


def streams(corpus: Corpus, tokenizer: Tokenizer) -> Streams:
    """The splits of a corpus.

    Bytes of a corpus of at most `IN_MEMORY` are read anew each time. Anything else is prepared once in the
    cache and mapped from there; it is made anew if the size or time of a file changes.

    Raises:
        ValueError: if a file cannot be read, or the cache cannot be written.
    """
    if isinstance(tokenizer, Bytes) and corpus.size <= IN_MEMORY:
        joined = {split: _join(getattr(corpus, split), tokenizer) for split in SPLITS}
        return Streams(joined, corpus.sha256)

    def make(folder: Path) -> dict[str, str]:
        with progress(f"reading {corpus.size:,} bytes of text", corpus.size) as advance:
            for split in SPLITS:
                parts = _parts(getattr(corpus, split), tokenizer, advance)
                write_split(folder, split, parts)
        return {"SHA-256": corpus.sha256}

    folder, facts = cached("text", _key(corpus, tokenizer), make)
    return Streams({split: load_arrays(folder, split)["tokens"] for split in SPLITS}, facts["SHA-256"])


def _join(files: Sequence[TextFile], tokenizer: Tokenizer) -> NDArray[Any]:
    parts = [part["tokens"] for part in _parts(files, tokenizer, lambda n_bytes: None)]
    return np.concatenate(parts) if parts else np.zeros(0, tokenizer.dtype)


def _parts(files: Sequence[TextFile], tokenizer: Tokenizer, advance: Any) -> Iterator[Chunk]:
    """The tokens of block after block; the label of a block is the number of its file."""
    separator = np.array([tokenizer.separator], tokenizer.dtype)
    for number, file in enumerate(files):
        before = separator
        for block in _blocks(file, BLOCK if isinstance(tokenizer, Bytes) else TOKENIZED):
            tokens = np.concatenate((before, encode(block, tokenizer)))
            yield {"tokens": tokens, "ends": np.array([len(tokens)]), "labels": np.array([number])}
            before = separator[:0]
            advance(len(block))


def encode(text: bytes, tokenizer: Tokenizer) -> NDArray[Any]:
    """The tokens of a text; what `SEPARATOR` divides are documents of their own."""
    if isinstance(tokenizer, Bytes) or SEPARATOR not in text:
        return tokenizer.encode(text)
    separator = np.array([tokenizer.separator], tokenizer.dtype)
    first, *others = map(tokenizer.encode, text.split(SEPARATOR))
    return np.concatenate((first, *(part for other in others for part in (separator, other))))


def _blocks(file: TextFile, size: int) -> Iterator[bytes]:
    """Blocks that end with a line, or at least with a character, if they contain one."""
    held = b""
    for block in file.blocks(size):
        held += block
        end = held.rfind(b"\n") + 1 or _whole_characters(held)
        if end:
            yield held[:end]
            held = held[end:]
    if held:
        yield held


def _whole_characters(text: bytes) -> int:
    """How many bytes of UTF-8 text there are before a character at the end that may be cut off."""
    for back in range(1, min(4, len(text)) + 1):
        if text[-back] >= 0xC0:
            return len(text) - back
        if text[-back] < 0x80:
            break
    return len(text)


def _key(corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
    files = {split: [_fingerprint(file) for file in getattr(corpus, split)] for split in SPLITS}
    return {
        "files": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
        "tokenizer": dict(tokenizer.facts),
    }


def _fingerprint(file: TextFile) -> list[Any]:
    if isinstance(file.source, bytes):
        return [file.path, hashlib.sha256(file.content).hexdigest()]
    path = str(file.source.resolve()).encode("utf-8", "surrogateescape").hex()
    return [path, file.start, file.stop, file.source.stat().st_size, file.source.stat().st_mtime_ns]
