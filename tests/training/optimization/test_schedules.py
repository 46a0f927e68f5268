"""Learning-rate schedules."""

import math

import pytest

from sma.training.optimization.schedules import (
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    PublishedSchedule,
)


def test_warm_up_is_linear_and_ends_at_one() -> None:
    schedule = ConstantSchedule(warmup=4)
    assert [schedule.factor(step, 0.0) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_no_warm_up() -> None:
    assert LinearSchedule(warmup=0).factor(0, 0.0) == 1


@pytest.mark.parametrize(
    ("schedule", "half"),
    [
        (LinearSchedule(warmup=0), 0.5),
        (LinearSchedule(warmup=0, power=2), 0.25),
        (LinearSchedule(warmup=0, final=0.2), 0.6),
        (CosineSchedule(warmup=0), 0.5),
    ],
)
def test_decay_from_one_to_final(schedule: LinearSchedule, half: float) -> None:
    assert schedule.factor(0, 0.0) == 1
    assert schedule.factor(50, 0.5) == pytest.approx(half)
    assert schedule.factor(100, 1.0) == pytest.approx(schedule.final)
    assert schedule.factor(100, 1.5) == pytest.approx(schedule.final)  # a little over time


def test_cosine_is_a_cosine() -> None:
    assert CosineSchedule(warmup=0).factor(0, 0.25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


@pytest.mark.parametrize("power", [1, 2])
def test_published_rise_and_straight_line(power: int) -> None:
    schedule = PublishedSchedule(warmup=20, start=0.1, warmup_power=power, final=0.05)
    for step in range(101):
        expected = 0.1 + 0.9 * (step / 20) ** power if step < 20 else 0.05 + 0.95 * (100 - step) / 80
        assert schedule.factor(step, step / 100) == pytest.approx(expected)


def test_published_schedule_without_warm_up_or_decay() -> None:
    assert PublishedSchedule(warmup=0).factor(0, 0.0) == 1
    assert PublishedSchedule(warmup=0).factor(5, 0.5) == 0.5
    assert PublishedSchedule(warmup=10).factor(10, 1.0) == 0  # all of it was warm-up
