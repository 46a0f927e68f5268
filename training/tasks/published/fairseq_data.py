"""Rows in the binary files of fairseq (https://github.com/facebookresearch/fairseq): `train.bin` and `.idx`.

An index holds magic, version, a code of the dtype, the number of rows, their lengths (int32) and their places
in bytes (int64); the other file holds the tokens.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sma.training.generators.chunks import Chunk

MAGIC = b"MMIDIDX\x00\x00"
DTYPES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
N_SPECIAL = 4
"""The tokens before a dictionary's own: begin, padding, end and unknown."""
END = 2


def read_dictionary(path: Path) -> list[str]:
    """The tokens of a `dict.txt`, the special ones first.

    Raises:
        ValueError: if a line is not a token and a count.
    """
    tokens = ["<s>", "<pad>", "</s>", "<unk>"]
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        token, _, n = line.rpartition(" ")
        if not token or not n.isdigit():
            raise ValueError(
                f"line {number} of {path} is not a token and a count: {line[:40]!r}; copy it again"
            )
        tokens.append(token)
    return tokens


def read_rows(prefix: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Tokens `(T,)` and ends `(n,)` of the rows in `prefix.bin` and `prefix.idx`.

    Raises:
        ValueError: if the files are damaged or of another format.
    """
    index, content = prefix.with_name(f"{prefix.name}.idx"), prefix.with_name(f"{prefix.name}.bin")
    header = index.read_bytes()
    if not header.startswith(MAGIC):
        raise ValueError(
            f"{index} is not an index of fairseq's mmap format; prepare the data with --dataset-impl mmap"
        )
    try:
        _, code, n = struct.unpack_from("<QBQ", header, len(MAGIC))
        start = len(MAGIC) + struct.calcsize("<QBQ")
        lengths = np.frombuffer(header, "<i4", n, start)
        places = np.frombuffer(header, "<i8", n, start + 4 * n)
        dtype = np.dtype(DTYPES[code])
    except (struct.error, ValueError, KeyError) as error:
        raise ValueError(f"{index} is damaged ({error}); copy it again") from error
    tokens = np.fromfile(content, dtype)
    ends = np.cumsum(lengths, dtype=np.int64)
    if (lengths < 0).any() or not np.array_equal(places, (ends - lengths) * dtype.itemsize):
        raise ValueError(f"{index} is damaged (places and lengths disagree); copy it again")
    if n and ends[-1] != len(tokens):
        raise ValueError(
            f"{content} holds {len(tokens):,} tokens, and its index {ends[-1]:,}; copy both again"
        )
    return tokens, ends


def read_labels(prefix: Path) -> NDArray[np.int64]:
    """The labels `(n,)` of rows, from 0; each row is a label, with or without the end token.

    Raises:
        ValueError: if a row holds something else.
    """
    tokens, ends = read_rows(prefix)
    kept = tokens[tokens != END]
    if len(kept) != len(ends) or (kept < N_SPECIAL).any():
        raise ValueError(f"{prefix}.bin does not hold one label per row; copy it again")
    return kept.astype(np.int64) - N_SPECIAL


def read_labelled(folder: Path, split: str, *, sources: str = "src-bin") -> Chunk:
    """Rows and labels of a split, `train`, `valid` or `test`, in `src-bin` and `label-bin`.

    Raises:
        ValueError: if their numbers differ.
    """
    tokens, ends = read_rows(folder / sources / split)
    labels = read_labels(folder / "label-bin" / split)
    if len(labels) != len(ends):
        raise ValueError(
            f"{folder} has {len(ends):,} rows and {len(labels):,} labels of {split}; copy them again"
        )
    return {"tokens": tokens.astype(np.uint16), "ends": ends, "labels": labels}
