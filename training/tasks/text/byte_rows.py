"""Classified texts as rows of bytes."""

from collections.abc import Sequence

import numpy as np

from sma.training.generators.chunks import Chunk
from sma.training.tasks.rows import Rows
from sma.training.tasks.text.byte_classes import CLASS_OF_BYTE

BYTE_NAMES = tuple(chr(byte) for byte in range(256))
"""By which a report shows bytes."""


def join(texts: Sequence[tuple[bytes, int]], max_length: int) -> Chunk:
    """Texts, cut at `max_length`, and their labels as one part."""
    cut = [content[:max_length] for content, _ in texts]
    return {
        "tokens": np.frombuffer(b"".join(cut), np.uint8),
        "ends": np.cumsum([len(content) for content in cut], dtype=np.int64),
        "labels": np.array([label for _, label in texts], np.int64),
    }


def byte_rows(arrays: Chunk) -> Rows:
    """Rows of the bytes in `tokens`; every byte has its class as its role."""
    return Rows(arrays["tokens"], arrays["ends"], arrays["labels"], token_roles=CLASS_OF_BYTE)
