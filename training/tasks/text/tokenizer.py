"""Tokenizers: text as bytes, or as the tokens of a `tokenizer.json`."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sma.architectures.files.reading import expanded, read_whole
from sma.lazy import needs

MAX_BYTES = 2**28
"""The largest tokenizer.json that is read."""

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "[SEP]")
"""Tokens that stand between files, the first that a tokenizer has."""


class Tokenizer(ABC):
    """Text as integers.

    Attributes:
        n_tokens: how many different ones there are, the separator included.
        separator: stands before every file.
        unit: what one integer is called.
        facts: which tokenizer it is.
    """

    n_tokens: int
    separator: int
    unit: str
    facts: Mapping[str, str]

    @property
    def dtype(self) -> str:
        """The smallest integers that hold the tokens, of little-endian arrays."""
        return "u1" if self.n_tokens <= 2**8 else "<u2" if self.n_tokens <= 2**16 else "<u4"

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """The text of each token, as a page shows it."""

    @abstractmethod
    def encode(self, text: bytes) -> NDArray[Any]:
        """The tokens of a text, `(T,)`."""

    @abstractmethod
    def pieces(self, text: bytes) -> tuple[NDArray[Any], list[str]]:
        """The tokens of a text, and the characters that each stands for."""


class Bytes(Tokenizer):
    """Every byte is a token."""

    def __init__(self) -> None:
        self.n_tokens, self.separator, self.unit, self.facts = 256, 0, "byte", {}

    @property
    @override
    def names(self) -> list[str]:
        return [chr(byte) for byte in range(256)]

    @override
    def encode(self, text: bytes) -> NDArray[Any]:
        return np.frombuffer(text, np.uint8)

    @override
    def pieces(self, text: bytes) -> tuple[NDArray[Any], list[str]]:
        return self.encode(text), [chr(byte) for byte in text]


class FileTokenizer(Tokenizer):
    """A `tokenizer.json` of the library `tokenizers`.

    Bytes that are not UTF-8 are read as replacement characters. Special tokens are not added to the text;
    files are separated by the tokenizer's token for the end of a text, or by one more than it has.

    Args:
        path: of the file.

    Raises:
        ValueError: if `tokenizers` is not installed, or the file is not one of its files.
    """

    def __init__(self, path: Path) -> None:
        self.unit = "token"
        with needs("tokenizers", f"task.tokenizer={str(path)!r}"):
            import tokenizers
        content = read_whole(path, limit=MAX_BYTES)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except Exception as error:  # what the library raises
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{path} is not a tokenizer.json of the tokenizers library ({reason}); name such a file"
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        n_tokens = max(vocabulary.values(), default=-1) + 1
        self.separator = next((vocabulary[end] for end in ENDS if end in vocabulary), n_tokens)
        self.n_tokens = max(n_tokens, self.separator + 1)
        self.facts = {
            "tokenizer": f"{path}, {self.n_tokens:,} tokens",
            "SHA-256 of the tokenizer": hashlib.sha256(content).hexdigest(),
        }

    @property
    @override
    def names(self) -> list[str]:
        return [f"{self._tokenizer.id_to_token(i) or '?'} " for i in range(self.n_tokens)]

    @override
    def encode(self, text: bytes) -> NDArray[Any]:
        return np.array(self._encoding(text.decode("utf-8", "replace")).ids, self.dtype)

    @override
    def pieces(self, text: bytes) -> tuple[NDArray[Any], list[str]]:
        characters = text.decode("utf-8", "replace")
        encoding = self._encoding(characters)
        shown, done = [], 0
        for start, end in encoding.offsets:  # several tokens may share a character
            shown.append(characters[max(start, done) : end])
            done = max(done, end)
        return np.array(encoding.ids, self.dtype), shown

    def _encoding(self, text: str) -> Any:
        return self._tokenizer.encode(text, add_special_tokens=False)


def open_tokenizer(path: str | None) -> Tokenizer:
    """The tokenizer of a file; bytes for None.

    Raises:
        ValueError: if it cannot be read.
    """
    return Bytes() if path is None else FileTokenizer(expanded(path, field="task.tokenizer"))
