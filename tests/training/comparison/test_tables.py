"""Tables of a comparison: what stands in them, the best first."""

import pytest

from sma.training.comparison.measurements import Comparison
from sma.training.comparison.tables import amount, budget_table, crossing_lines, missing_lines, spread


def test_a_table_of_a_budget(comparison: Comparison) -> None:
    table = budget_table(comparison, 1e12)
    assert table.title == "1T operations"
    assert table.heads[:3] == ("model", "bits per byte", "difference to routed")
    assert [row[0] for row in table.rows] == ["wide", "routed"]
    difference = "-0.100 [-0.200 to +0.000]"
    assert table.rows[0][1:6] == ["1.950 ± 0.071 (2)", difference, "1T", "100.0", "20 MiB"]
    assert table.rows[1][1:3] == ["2.050 ± 0.071 (2)", "-"]
    assert [row[-1] for row in table.rows] == ["-", "30 %"]


def test_differences_pair_what_both_have(comparison: Comparison) -> None:
    rows = {row[0]: row for row in budget_table(comparison, 1e13).rows}
    assert rows["wide"][1:3] == ["1.800 (1)", "+0.200 (1 pair)"]


def test_runs_of_a_search_that_were_not_chosen_do_not_count(comparison: Comparison) -> None:
    worse = comparison.runs[0].model_copy(update={"quality": 9.0, "chosen": False})
    grown = comparison.model_copy(update={"runs": [*comparison.runs, worse]})
    assert budget_table(grown, 1e11) == budget_table(comparison, 1e11)


def test_accuracy_is_better_high(comparison: Comparison) -> None:
    found = comparison.model_copy(update={"headline": "accuracy"})
    assert [row[0] for row in budget_table(found, 1e12).rows] == ["routed", "wide"]
    assert spread([0.25], "accuracy") == "25.00 % (1)"


def test_crossings_and_missing_runs_in_words(comparison: Comparison) -> None:
    (line,) = crossing_lines(comparison)
    assert line.startswith("routed overtakes wide at about 2.")
    assert line.endswith("operations (between 1T and 10T)")
    assert missing_lines(comparison) == ["not run: wide, 10T operations, seed 1: out of <memory>"]


AMOUNTS = [(999, "999"), (1000, "1k"), (2.5e9, "2.5G"), (3e15, "3P"), (0.5, "0.5")]


@pytest.mark.parametrize(("value", "text"), AMOUNTS)
def test_amounts(value: float, text: str) -> None:
    assert amount(value) == text
