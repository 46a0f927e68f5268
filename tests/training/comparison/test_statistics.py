"""Statistics of a comparison against slow oracles."""

import itertools
import math
import random
import statistics

import pytest

from sma.training.comparison.statistics import crossings, interval, paired_difference, pareto, summary


def slow_interval(values: list[float]) -> tuple[float, float]:
    """The least and the greatest mean that leave out at most 2.5 % of all resamples on their side."""
    means = sorted(statistics.fmean(drawn) for drawn in itertools.product(values, repeat=len(values)))
    k = 0
    while (k + 1) / len(means) <= 0.025:
        k += 1
    return means[k], means[-1 - k]


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_interval_enumerates_all_resamples_of_few_values(n: int) -> None:
    generator = random.Random(n)
    values = [generator.gauss(0, 1) for _ in range(n)]
    assert interval(values) == pytest.approx(slow_interval(values))


def test_the_interval_of_many_values_is_near_the_normal_one() -> None:
    generator = random.Random(0)
    values = [generator.gauss(1, 2) for _ in range(200)]
    reach = 1.96 * statistics.pstdev(values) / math.sqrt(200)
    middle = statistics.fmean(values)
    assert interval(values) == pytest.approx((middle - reach, middle + reach), abs=0.02)
    assert interval(values) == interval(values)


def test_mean_and_deviation() -> None:
    values = [1.0, 2.5, 4.0, -1.0]
    found = summary(values)
    assert (found.mean, found.deviation, found.n) == (
        pytest.approx(statistics.fmean(values)),
        pytest.approx(statistics.stdev(values)),
        4,
    )
    assert summary([3.0]).deviation is None


def test_differences_are_paired_by_seed() -> None:
    found = paired_difference({0: 1.0, 1: 3.0, 5: 9.0}, {1: 2.0, 0: 0.5, 7: 0.0})
    assert found is not None
    assert (found.mean, found.low, found.high, found.n) == (0.75, 0.5, 1.0, 2)
    assert found.is_clear
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    one = paired_difference({0: 2.0}, {0: 1.0})
    assert one is not None
    assert (one.mean, one.low, one.is_clear) == (1.0, None, False)


def slow_front(points: dict[str, tuple[float, float]], sign: int) -> set[str]:
    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and sign * a[1] <= sign * b[1] and a != b

    return {name for name, at in points.items() if not any(beats(other, at) for other in points.values())}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("lower", [True, False])
def test_the_front_is_what_nothing_beats(seed: int, lower: bool) -> None:
    generator = random.Random(seed)
    points = {str(i): (float(generator.randint(1, 5)), float(generator.randint(1, 5))) for i in range(8)}
    found = pareto(points, lower_is_better=lower)
    assert set(found) == slow_front(points, 1 if lower else -1)
    assert [points[name][0] for name in found] == sorted(points[name][0] for name in found)


def test_crossings_are_named_in_the_direction_of_the_budget() -> None:
    curves = {
        "wide": {1e10: 2.0, 1e11: 1.9, 1e12: 1.8},
        "routed": {1e10: 2.3, 1e11: 2.0, 1e12: 1.6},
        "worst": {1e10: 3.0, 1e12: 2.9},
    }
    (found,) = crossings(curves, lower_is_better=True)
    assert (found.leads, found.led, found.between) == ("routed", "wide", (1e11, 1e12))
    assert math.log10(found.at) == pytest.approx(11 + 0.1 / 0.3)
    (other,) = crossings(curves, lower_is_better=False)
    assert (other.leads, other.led) == ("wide", "routed")


def test_curves_that_touch_do_not_cross_unless_they_change_places() -> None:
    touch = {"a": {1: 1.0, 2: 1.0, 4: 1.0}, "b": {1: 2.0, 2: 1.0, 4: 2.0}}
    assert crossings(touch, lower_is_better=True) == []
    through = {"a": {1: 1.0, 2: 1.0, 4: 1.0}, "b": {1: 2.0, 2: 1.0, 4: 0.0}}
    (found,) = crossings(through, lower_is_better=True)
    assert (found.leads, found.between) == ("b", (1, 4))
