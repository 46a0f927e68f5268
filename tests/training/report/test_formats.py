"""Numbers in words."""

import pytest

from sma.training.report.formats import duration, measure


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (59.7, "1 min 0 s"), (3700, "1 h 1 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_measures_have_units() -> None:
    assert measure(1.23456, "bits", "byte") == "1.235 bits per byte"
    assert measure(0.98765, "accuracy", "image") == "98.8 % correct"
