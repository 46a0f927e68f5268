"""Baselines for bytes: context-count models and xz."""

import lzma

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def order_k_bits(training: Bytes, test: Bytes, *, order: int) -> float:
    r"""Bits per byte of `test` under byte counts of the last `order` bytes, taken from `training` alone.

    Contexts of all lengths up to `order` are interpolated as Witten and Bell proposed: with n occurrences of
    a context followed by r different bytes,

    $$ p_k(b) = \frac{c_k(b) + r\, p_{k-1}(b)}{n + r} $$

    down to the uniform distribution, so every byte has a probability. The counts stay as they are while the
    test bytes are read.

    Args:
        training: `(n,)` uint8.
        test: `(m,)` uint8; the first `order` of them are scored with shorter contexts.
        order: 0, 1 or 2.

    Returns:
        Mean bits per test byte.

    Raises:
        ValueError: for another order, or without test bytes.

    Example:
        >>> text = np.frombuffer(b"abababab", np.uint8)
        >>> order_k_bits(text, text, order=1) < order_k_bits(text, text, order=0) < 8
        True
    """
    if order not in (0, 1, 2):
        raise ValueError(f"order must be 0, 1 or 2, got {order}; longer contexts need another data structure")
    if len(test) == 0:
        raise ValueError("there are no test bytes to score; give at least one")
    probability = np.full(len(test), 1 / 256)
    for k in range(order + 1):
        counts = np.bincount(_codes(training, k + 1), minlength=256 ** (k + 1)).reshape(-1, 256)
        total, distinct = counts.sum(1), (counts > 0).sum(1)
        codes = _codes(test, k + 1)
        context = codes // 256
        n, r = total[context], distinct[context]
        lower = probability[k:]
        mixed = (counts.reshape(-1)[codes] + r * lower) / np.maximum(n + r, 1)
        probability[k:] = np.where(n > 0, mixed, lower)
    return float(-np.log2(probability).mean())


def xz_bits(test: Bytes) -> float:
    """Bits per byte of `test` as one xz file at the highest setting, which sees no training bytes.

    Raises:
        ValueError: without test bytes.
    """
    if len(test) == 0:
        raise ValueError("there are no test bytes to compress; give at least one")
    return 8 * len(lzma.compress(test.tobytes(), preset=9 | lzma.PRESET_EXTREME)) / len(test)


def _codes(data: Bytes, width: int) -> NDArray[np.int64]:
    """Every run of `width` bytes as one number, the last byte least significant."""
    n = max(len(data) - width + 1, 0)
    codes = np.zeros(n, np.int64)
    for i in range(width):
        codes = codes * 256 + data[i : i + n]
    return codes
