"""Caches whose rows do not move are found."""

from broken_models import DoesNotMoveRows, RunningMean

from sma.testing import check_model

NAMES = ["beam reorder", "rows that leave", "rows that join"]


def test_rows_that_move():
    report = check_model(RunningMean(), properties=NAMES, examples=10, max_length=5)
    assert [finding.verdict for finding in report] == ["holds"] * 3, report


def test_rows_that_do_not_move():
    report = check_model(DoesNotMoveRows(), properties=NAMES, examples=15, max_length=5)
    assert [finding.verdict for finding in report] == ["violated"] * 3, report
    assert report["rows that join"].row == 1
