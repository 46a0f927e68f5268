"""The tokens of a row as a reader is shown them, and what each is: a word's start, its inside, or else."""

from collections.abc import Sequence
from typing import Any

TOKEN_CLASSES = ("special", "space", "start of a word", "inside a word", "digits", "punctuation", "other")
"""Other tokens: symbols that are not ASCII, and parts of a character."""

_BEFORE = 8
"""Tokens that one is decoded after: they say whether a space comes first."""
_PART = "\ufffd"
"""What a part of a character is decoded to."""


def token_pieces(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    """The piece of the decoded text that each token of a row adds, with the space before it.

    Args:
        tokenizer: of transformers.
        tokens: of the row.
    """
    return [_piece(tokenizer, tokens[max(i - _BEFORE, 0) : i], token) for i, token in enumerate(tokens)]


def _piece(tokenizer: Any, before: Sequence[int], token: int) -> str:
    text: str = tokenizer.decode([*before, token])
    earlier = tokenizer.decode([*before]).rstrip(_PART) if before else ""
    piece = text[len(earlier) :] if text.startswith(earlier) else ""
    return piece or str(tokenizer.convert_ids_to_tokens(token)).replace("▁", " ")


def token_classes(tokenizer: Any, tokens: Sequence[int], pieces: Sequence[str]) -> list[int]:
    """What each token of a row is, as an index into `TOKEN_CLASSES`.

    Args:
        tokenizer: names the special ones.
        tokens: of the row.
        pieces: of each.
    """
    special = set(tokenizer.all_special_ids)
    found, before = [], ""
    for token, piece in zip(tokens, pieces, strict=True):
        found.append(TOKEN_CLASSES.index("special" if token in special else _class_of(piece, before)))
        if _PART not in piece:
            before = "" if token in special else piece
    return found


def _class_of(piece: str, before: str) -> str:
    text = piece.strip()
    if not text:
        return "space"
    if _PART in text:
        return "other"
    if text.isdigit():
        return "digits"
    if any(map(str.isalpha, text)):
        continues = piece[0] == text[0] and before[-1:].isalnum() and text[0].isalnum()
        return "inside a word" if continues else "start of a word"
    return "punctuation" if text.isascii() else "other"
