"""Learning-rate schedules."""

import math

import pytest
import torch

from sma.training.optimization.schedules import (
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    PublishedSchedule,
    WarmupStableDecaySchedule,
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


@pytest.mark.parametrize(("steps", "warmup"), [(1000, 100), (6, 1), (3, 1), (None, 0.1)])
def test_a_share_of_the_run_is_a_number_of_its_steps(steps: int | None, warmup: float) -> None:
    assert LinearSchedule(warmup=0.1).over(steps).warmup == warmup
    assert LinearSchedule(warmup=7).over(steps).warmup == 7


def test_a_share_of_a_run_without_steps_is_one_of_its_time() -> None:
    constant, published = ConstantSchedule(warmup=0.25), PublishedSchedule(warmup=0.25, start=0.2)
    for step, progress in ((3, 0.0), (9, 0.125), (11, 0.25), (12, 0.5), (90, 1.0)):
        rise = min(progress / 0.25, 1)
        assert constant.factor(step, progress) == pytest.approx(rise)
        expected = 0.2 + 0.8 * rise if progress < 0.25 else (1 - progress) / 0.75
        assert published.factor(step, progress) == pytest.approx(expected)


@pytest.mark.parametrize(("shape", "middle"), [("linear", 0.5), ("sqrt", 1 - 0.5**0.5), ("cosine", 0.5)])
def test_warm_up_stable_decay(shape: str, middle: float) -> None:
    schedule = WarmupStableDecaySchedule(warmup=10, decay_share=0.4, shape=shape, final=0.1)  # type: ignore[arg-type]
    factors = [schedule.factor(step, step / 100) for step in range(101)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10:60] == pytest.approx([1.0] * 50)
    assert factors[80] == pytest.approx(0.1 + 0.9 * middle)
    assert factors[100] == pytest.approx(0.1)
    assert factors == sorted(factors[:10]) + sorted(factors[10:], reverse=True)


@pytest.mark.parametrize("done", [0, 1, 4])
def test_torch_s_scheduler_sets_every_group(done: int) -> None:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.1, 0.4)]
    optimizer = torch.optim.SGD(groups)
    schedule = CosineSchedule(warmup=0.25)
    step = done
    scheduler = schedule.build(optimizer, lambda: step / 8, steps=8, done=done)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    while step < 8:
        expected = CosineSchedule(warmup=2).factor(step, step / 8)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1 * expected, 0.4 * expected])
        optimizer.step()
        step += 1
        scheduler.step()
