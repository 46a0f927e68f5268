"""The lines of metrics.jsonl: means since the line before, and the speed without what training waited for."""

import math

import pytest

from sma.training.loop.lines import Lines
from sma.training.loop.step import Totals
from sma.training.run.position import Position
from sma.training.tasks.task import Evaluation


def test_lines_about_training() -> None:
    lines = Lines(counts_operations=True)
    totals = Totals(1, True, n_real=9, auxiliary={"budget": 0.5})
    rows = []
    for step, elapsed, pause in ((2, 4.0, 2.0), (3, 9.0, 0.0)):
        lines.passed(10)
        lines.passed(30)
        lines.paused(pause)
        position = Position(
            step=step, elapsed=elapsed, operations=7 * step, pending=((3.0, 2.0), (5.0, 2.0 * step))
        )
        rows.append(lines.training(position, totals, gradient_norm=1.5, learning_rate=0.1, loss_scale=None))
    assert [row["elements_per_second"] for row in rows] == [40 / 2.0, 40 / 5.0]
    assert [row["loss"] for row in rows] == [4.0, 4.0]
    assert [row["bits"] * math.log(2) for row in rows] == pytest.approx([3.0, 4.0])
    assert [row["operations"] for row in rows] == [14, 21]
    assert rows[0]["auxiliary"] == {"budget": 0.5}
    assert "loss_scale" not in rows[0]
    scaled = lines.training(position, totals, gradient_norm=0, learning_rate=1, loss_scale=8.0)
    assert scaled["loss_scale"] == 8.0


def test_lines_about_validation() -> None:
    result = Evaluation(math.log(4), 0.25, 10, 1.0, {"blocks.0": [0.5]})
    row = Lines(counts_operations=False).validation(Position(step=3, elapsed=2.0), result)
    assert row == {
        "step": 3, "split": "validation", "loss": math.log(4), "bits": pytest.approx(2.0), "accuracy": 0.25,
        "activation": {"blocks.0": [0.5]}, "seconds": 2.0,
    }  # fmt: skip
