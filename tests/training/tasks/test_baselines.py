"""Context-count models against a slow, independent computation."""

import lzma
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sma.training.tasks.baselines import order_k_bits, xz_bits

texts = st.lists(st.sampled_from(b"abc"), min_size=1, max_size=40).map(bytes)


def slow_bits(training: bytes, test: bytes, order: int) -> float:
    """Witten-Bell interpolation, one byte and one dictionary at a time."""

    def probability(context: bytes, byte: int) -> float:
        followers = [
            training[i + len(context)]
            for i in range(len(training) - len(context))
            if training[i : i + len(context)] == context
        ]
        lower = 1 / 256 if not context else probability(context[1:], byte)
        if not followers:
            return lower
        n, distinct = len(followers), len(set(followers))
        return (followers.count(byte) + distinct * lower) / (n + distinct)

    def lowest(byte: int) -> float:
        n, distinct = len(training), len(set(training))
        return (training.count(byte) + distinct / 256) / (n + distinct)

    total = 0.0
    for i, byte in enumerate(test):
        context = test[max(i - order, 0) : i]
        total -= math.log2(probability(context, byte) if context else lowest(byte))
    return total / len(test)


@pytest.mark.parametrize("order", [0, 1, 2])
@given(training=texts, test=texts)
def test_equals_the_slow_computation(order: int, training: bytes, test: bytes) -> None:
    ours = order_k_bits(np.frombuffer(training, np.uint8), np.frombuffer(test, np.uint8), order=order)
    assert ours == pytest.approx(slow_bits(training, test, order), rel=1e-12)


def test_probabilities_of_all_bytes_sum_to_one() -> None:
    training = np.frombuffer(b"abracadabra", np.uint8)
    chances = [
        2 ** -(2 * order_k_bits(training, np.array([97, byte], np.uint8), order=1)) for byte in range(256)
    ]
    shared = 2 ** -order_k_bits(training, np.array([97], np.uint8), order=1)
    assert sum(chances) == pytest.approx(shared)


def test_xz_counts_the_whole_file() -> None:
    data = np.frombuffer(b"def f(): pass\n" * 100, np.uint8)
    unpacked = lzma.decompress(lzma.compress(data.tobytes(), preset=9 | lzma.PRESET_EXTREME))
    assert unpacked == data.tobytes()
    assert 0 < xz_bits(data) < 1


def test_errors_say_what_to_do() -> None:
    nothing = np.zeros(0, np.uint8)
    with pytest.raises(ValueError, match="order must be 0, 1 or 2, got 3"):
        order_k_bits(nothing, nothing, order=3)
    with pytest.raises(ValueError, match="no test bytes"):
        order_k_bits(nothing, nothing, order=0)
    with pytest.raises(ValueError, match="no test bytes"):
        xz_bits(nothing)
