"""Rank correlation with an interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_RESAMPLES = 1000
FEWEST = 5
"""Rows that an interval needs at least."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of two quantities.

    Attributes:
        value: from -1 to 1; None where one of the two is constant.
        low: of the 95 % interval; None where there are too few rows.
        high: of the interval.
        n: pairs of values.
        n_rows: rows that they are from.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_rows: int


def correlate(
    x: NDArray[np.float64], y: NDArray[np.float64], row: NDArray[np.int64], *, seed: int = 0
) -> Correlation:
    """Spearman's correlation of `x (n,)` with `y (n,)`, ties sharing their mean rank.

    The interval is that of the percentile bootstrap over whole rows, as values of one row depend on each
    other.

    Args:
        x: one quantity.
        y: the other.
        row: `(n,)`; which row each pair of values is from.
        seed: of the resamples.
    """
    value = spearman(x, y)
    rows = [np.flatnonzero(row == number) for number in np.unique(row)]
    if value is None or len(rows) < FEWEST:
        return Correlation(value, None, None, len(x), len(rows))
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(N_RESAMPLES):
        chosen = np.concatenate([rows[i] for i in generator.integers(len(rows), size=len(rows))])
        drawn.append(spearman(x[chosen], y[chosen]))
    low, high = np.quantile([each for each in drawn if each is not None], [0.025, 0.975])
    return Correlation(value, float(low), float(high), len(x), len(rows))


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Pearson's correlation of the ranks; None where one is constant, or there are no values.

    Example:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 5.0]))
        0.5
    """
    a, b = (_ranks(values) for values in (x, y))
    a, b = a - a.mean() if len(a) else a, b - b.mean() if len(b) else b
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 0 else None


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each value from 1 on; the mean rank for equal ones."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]
