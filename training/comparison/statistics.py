"""Statistics of a comparison: spread, paired differences with intervals, Pareto fronts, crossings."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT = 6
"""Up to so many pairs all resamples are enumerated."""
N_RESAMPLES = 10_000
"""Random resamples of more pairs."""
LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean and spread of some values.

    Attributes:
        mean: their mean.
        deviation: their standard deviation, that of a sample; None for fewer than two.
        n: how many there are.
    """

    mean: float
    deviation: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences.

    Attributes:
        mean: their mean.
        low: the lower end of its bootstrap interval; None for fewer than two pairs.
        high: the upper end.
        n: how many pairs there are.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Crossing:
    """A place where one curve overtakes another.

    Attributes:
        leads: which is better after it.
        led: which was better before it.
        at: the budget, on a straight line over its logarithm.
        between: the measured budgets around it.
    """

    leads: str
    led: str
    at: float
    between: tuple[float, float]


def summary(values: Sequence[float]) -> Summary:
    """Mean and standard deviation of at least one value.

    Example:
        >>> summary([1.0, 3.0])
        Summary(mean=2.0, deviation=1.4142135623730951, n=2)
    """
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(float(np.mean(values)), deviation, len(values))


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """The mean difference over common seeds, with its percentile bootstrap interval of 95 %.

    Pairs are drawn with replacement: all resamples of up to `EXACT` pairs, random ones of more. Of few pairs
    the interval is too narrow: that of three spans their differences from the least to the most.

    Args:
        values: by seed.
        reference: by seed; subtracted.

    Returns:
        None if there is no common seed.

    Example:
        >>> paired_difference({0: 1.5, 1: 2.5, 2: 3.0}, {0: 1.0, 1: 1.0, 2: 2.0})
        Difference(mean=1.0, low=0.5, high=1.5, n=3)
    """
    seeds = sorted(values.keys() & reference.keys())
    if not seeds:
        return None
    differences = np.array([values[seed] - reference[seed] for seed in seeds])
    if len(seeds) < 2:
        return Difference(float(differences.mean()), None, None, 1)
    low, high = interval(differences)
    return Difference(float(differences.mean()), low, high, len(seeds))


def interval(values: Sequence[float] | NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean.

    The ends are the least and the greatest resampled means that leave out at most `(1 - level) / 2` of all on
    their side.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n <= EXACT:
        drawn = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        drawn = np.random.default_rng(0).integers(n, size=(N_RESAMPLES, n))
    means = np.sort(values[drawn].mean(1))
    left_out = math.floor((1 - level) / 2 * len(means))
    return float(means[left_out]), float(means[len(means) - 1 - left_out])


def pareto(points: Mapping[str, tuple[float, float]], *, lower_is_better: bool) -> list[str]:
    """The names of points that no other beats, by rising cost.

    A point is beaten by one that costs no more and is no worse, and is better in one of both.

    Args:
        points: by name, cost and quality.
        lower_is_better: whether less quality is better.

    Example:
        >>> pareto({"a": (1, 5), "b": (2, 4), "c": (3, 4)}, lower_is_better=True)
        ['a', 'b']
    """
    sign = 1 if lower_is_better else -1
    order = sorted(points, key=lambda name: (points[name][0], sign * points[name][1]))
    front: list[str] = []
    best = math.inf
    for name in order:
        cost, quality = points[name]
        same = front and points[front[-1]] == (cost, quality)
        if sign * quality < best or same:
            front.append(name)
            best = sign * quality
    return front


def crossings(curves: Mapping[str, Mapping[float, float]], *, lower_is_better: bool) -> list[Crossing]:
    """Where curves of quality over budgets cross, by rising budget.

    Args:
        curves: by name, quality by budget; pairs are compared at the budgets that both have.
        lower_is_better: whether less quality is better.

    Example:
        >>> found = crossings({"a": {1: 2.0, 100: 1.0}, "b": {1: 1.5, 100: 1.5}}, lower_is_better=True)
        >>> [(one.leads, one.led, round(one.at)) for one in found]
        [('a', 'b', 10)]
    """
    sign = 1 if lower_is_better else -1
    found = []
    for first, second in itertools.combinations(curves, 2):
        budgets = sorted(curves[first].keys() & curves[second].keys())
        ahead = [(b, sign * (curves[second][b] - curves[first][b])) for b in budgets]
        apart = [(b, gap) for b, gap in ahead if gap != 0]  # positive: the first is better
        for (left, before), (right, after) in itertools.pairwise(apart):
            if before * after < 0:
                share = before / (before - after)
                at = math.exp(math.log(left) + share * (math.log(right) - math.log(left)))
                pair = (first, second) if after > 0 else (second, first)
                found.append(Crossing(*pair, at, (left, right)))
    return sorted(found, key=lambda one: one.at)
