"""Classes of the bytes of text: letters, digits, space, punctuation and others."""

import numpy as np
from numpy.typing import NDArray

BYTE_CLASSES = ("letter", "digit", "space", "punctuation", "other")
"""Other bytes: control characters, and those of characters beyond ASCII."""

_SPACE = b" \t\n\r\v\f"


def _class_of(byte: int) -> str:
    character = chr(byte)
    if byte in _SPACE:
        return "space"
    if byte > 126 or byte < 32:
        return "other"
    return "letter" if character.isalpha() else "digit" if character.isdigit() else "punctuation"


CLASS_OF_BYTE: NDArray[np.int64] = np.array([BYTE_CLASSES.index(_class_of(byte)) for byte in range(256)])
"""`(256,)`, the index into `BYTE_CLASSES` of every byte."""
