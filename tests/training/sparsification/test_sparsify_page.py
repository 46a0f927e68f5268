"""The report: what was asked for beside what was reached, and what is said where they differ."""

import json
import re
from dataclasses import replace

import pytest

from sma.training.sparsification.distillation import Distillation
from sma.training.sparsification.sparsify_measures import Measures
from sma.training.sparsification.sparsify_page import SparsifyReport, page, resume, write_report
from sma.transformers import SparsifySpec

QUALITY = {"hidden difference": 0.1}


def report(parts, **changes):
    dense = Measures("dense", QUALITY, 1.0, 1.0, 0, 0.2, 1.0)
    tokens = {" if": 0.25, "if": 0.5, "\n": 1.0}
    learned = Measures("learned", QUALITY, 0.81, parts, 9, 0.1, 0.5, {"mlp": 0.7}, tokens)
    made = SparsifyReport(
        "dense",
        ["a.txt"],
        "0",
        SparsifySpec(rate=0.5),
        Distillation(steps=40),
        4,
        8,
        5,
        5,
        0,
        [dense, learned],
    )
    return replace(made, **changes)


def test_the_share_of_the_parts_stands_beside_the_rate():
    heads, (dense, learned) = report(0.523).table()
    assert heads == ["model", "hidden difference", "operations of the parts", "of the model", "time"]
    assert dense == ["dense", "0.1", "100.0 %", "100.0 %", "100 %"]
    assert learned == ["sparse, learned", "0.1", "52.3 % (asked for: 50 %)", "81.0 %", "50 %"]
    shown = page(report(0.523))
    assert "52.3 % (asked for: 50 %)" in shown
    assert "of the parts&#39;, 50 % asked for" in shown
    assert "is missed" not in shown


@pytest.mark.parametrize(("parts", "said"), [(0.549, False), (0.56, True), (0.44, True), (0.451, False)])
def test_a_rate_that_is_missed_is_said_with_the_remedy(parts, said):
    assert (len(report(parts).notes()) == 1) == said
    if said:
        (note,) = report(parts).notes()
        assert re.match(
            rf"the rate is missed: {round(100 * parts)} % of .*, 50 % were asked for; take more", note
        )
        assert (
            "steps (now 40), or set by --set a higher router_learning_rate (now 0.01) or coefficient" in note
        )
        assert "the rate is missed" in page(report(parts))


def test_fewer_rows_than_were_asked_for_are_said(tmp_path):
    few = report(0.5, n_wanted=9)
    assert few.notes() == [
        "5 held-out rows were measured on, not 9: there are no more; name more text for more"
    ]
    assert few.notes()[0] in page(few)
    write_report(few, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["n_held_out"] == 5
    other = report(0.5, n_wanted=7, measures=[])
    resume(other, tmp_path)  # it was measured on the same rows
    assert other.measures == few.measures


def test_tokens_show_their_spaces():
    cells = re.findall(r"<td>(.*?)</td><td class=.number.>(\d+ %)</td>", page(report(0.5)))
    assert cells[-6:-3] == [("␣if", "25 %"), ("if", "50 %"), ("↵", "100 %")]
