"""Faults of decoding are found, and only where they are."""

import pytest
from broken_models import (
    CountsOneTooMany,
    CountsPaddingInSteps,
    ForgetsInChunks,
    ForgetsPastItsWindow,
    RemembersEarlierRows,
    RunningMean,
)

from sma.testing import check_model

NAMES = [
    "decoding one by one",
    "decoding in chunks",
    "decoding past the window",
    "decoding, left padding",
    "decoding after another row",
]


@pytest.mark.parametrize(
    ("model", "violated"),
    [
        (RunningMean(), []),
        (CountsOneTooMany(), [name for name in NAMES if name != "decoding after another row"]),
        (ForgetsInChunks(), ["decoding in chunks"]),
        (ForgetsPastItsWindow(), ["decoding past the window"]),
        (CountsPaddingInSteps(), ["decoding, left padding"]),
        (RemembersEarlierRows(), ["decoding after another row"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_fault_is_found(model, violated):
    report = check_model(model, properties=NAMES, window=16, examples=12, max_length=6)
    assert [finding.name for finding in report.violations] == violated, report


def test_the_smallest_row_beyond_the_window():
    names = ["decoding past the window"]
    finding = check_model(ForgetsPastItsWindow(), properties=names, examples=15)[names[0]]
    assert finding.position == 16
    assert finding.input.startswith(f"x = table {[[0] * 17]}")


def test_a_window_that_is_too_long_or_not_known_is_not_tried():
    names = ["decoding past the window"]
    report = check_model(RunningMean(), properties=names, window=100)
    assert report[names[0]].reason == "its window of 100 elements is longer than 64"
    report = check_model(RunningMean(), properties=names)
    assert report[names[0]].reason == "it has no window that is known; pass window=, if it has one"
