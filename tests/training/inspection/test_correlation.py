"""Rank correlation, against scipy; and its interval."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from sma.training.inspection import correlation
from sma.training.inspection.correlation import correlate, spearman


@pytest.mark.parametrize("n_values", [3, 1000])
def test_spearman(n_values: int) -> None:
    generator = np.random.default_rng(n_values)
    x = generator.integers(n_values, size=50).astype(float)  # few values: many ties
    y = x + generator.integers(n_values, size=50)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)


def test_nothing_to_correlate() -> None:
    one, none = np.ones(4), np.zeros(0)
    assert spearman(one, np.arange(4.0)) is None
    assert spearman(none, none) is None
    assert correlate(none, none, none.astype(np.int64)).value is None


def test_the_interval_holds_the_true_value_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a normal distribution whose rank correlation is known, (6 / pi) arcsin(rho / 2)."""
    monkeypatch.setattr(correlation, "N_RESAMPLES", 200)
    rho, hits = 0.6, 0
    true = 6 / np.pi * np.arcsin(rho / 2)
    for seed in range(20):
        generator = np.random.default_rng(seed)
        x, noise = generator.normal(size=(2, 60))
        found = correlate(x, rho * x + np.sqrt(1 - rho**2) * noise, np.arange(60), seed=seed)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= true <= found.high
    assert hits >= 17  # 19 are expected


def test_rows_are_drawn_whole() -> None:
    """Many equal values of few rows are not more than these few rows."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 10))
    single = correlate(x, y, np.arange(10))
    repeated = correlate(x.repeat(20), y.repeat(20), np.arange(10).repeat(20))
    assert (repeated.n, repeated.n_rows) == (200, 10)
    assert None not in (single.low, single.high, repeated.low, repeated.high)
    assert repeated.high - repeated.low > 0.8 * (single.high - single.low)  # type: ignore[operator]


def test_few_rows_have_no_interval() -> None:
    found = correlate(np.arange(8.0), np.arange(8.0), np.arange(8) % 4)
    assert (found.value, found.low, found.high, found.n, found.n_rows) == (1.0, None, None, 8, 4)
