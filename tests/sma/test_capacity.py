"""Shares are exact; what is kept is what a loop over the elements keeps."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sma.capacity import Share, within


@given(st.integers(1, 10**6), st.integers(0, 10**7))
def test_a_share_is_the_decimal_that_is_written(millionths, count):
    share = millionths / 10**6
    expected = math.ceil(Fraction(Decimal(str(share))) * count)
    assert Share.of(share).round_up(count) == expected
    assert Share.of(share).round_up(torch.tensor([count])).item() == expected


@given(st.integers(1, 999), st.integers(1, 999), st.integers(0, 10**6))
def test_a_share_is_the_fraction_that_is_meant(numerator, denominator, count):
    share, exact = numerator / denominator, min(Fraction(numerator, denominator), Fraction(1))
    assert Share.of(share).round_up(count) == math.ceil(exact * count)


@pytest.mark.parametrize(
    ("share", "parts", "count", "expected"),
    [
        (0.07, 1, 100, 7),
        (0.1 + 0.2, 1, 10, 3),
        (1.0, 1, 7, 7),
        (0, 1, 7, 0),
        (1e-12, 1, 5, 1),
        (1.25, 8, 64, 10),
        (0.1, 3, 30, 1),
        (1e300, 8, 5, 5),
    ],
)
def test_values(share, parts, count, expected):
    assert Share.of(share, parts=parts).round_up(count) == expected


@given(st.data())
def test_within_keeps_what_a_loop_keeps(data):
    length, before = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 2))
    active = data.draw(st.lists(st.booleans(), min_size=length, max_size=length))
    steps = data.draw(st.lists(st.integers(0, 2), min_size=length, max_size=length))
    allowed = [before + sum(steps[: t + 1]) for t in range(length)]
    kept, expected = before, []
    for a, limit in zip(active, allowed, strict=True):
        expected.append(a and kept < limit)
        kept += expected[-1]
    got = within(
        torch.tensor(active, dtype=torch.bool).view(1, length, 1),
        torch.tensor(allowed, dtype=torch.long).view(1, length, 1),
        torch.tensor([[before]]),
    )
    assert got.flatten().tolist() == expected


def test_a_number_is_a_limit_too():
    active = torch.tensor([[True, False, True, True, True]])[..., None]
    assert within(active, 3, torch.tensor([[1]])).flatten().tolist() == [True, False, True, False, False]
