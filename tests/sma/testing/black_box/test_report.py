"""The report of a check, as text and JSON."""

import json

import pytest

from sma.testing import Finding, Report

FINDINGS = (
    Finding("causality", "holds", n_trials=25, difference=2e-8, tolerance=1e-6),
    Finding(
        "left padding",
        "violated",
        "it holds otherwise",
        3,
        0.25,
        1e-6,
        input="x = [[0, 3]]",
        row=0,
        position=1,
        program="import torch\n",
        confirmed=True,
    ),
    Finding("packed rows", "limit", "documented", 1, None, 1e-6, input="x = [[1]]", error="ValueError: no"),
    Finding("save and load", "not tried", "it has no file"),
    Finding(
        "gradients of idle parts", "violated", n_trials=1, difference=4, input="x = [[1]]", names=("a",) * 4
    ),
)
REPORT = Report("Model", 1e-6, None, FINDINGS, {"torch": "2"}, 1.0)


def test_text():
    lines = REPORT.text().splitlines()
    assert lines[0] == "Model: it does not run in float64, tolerance 1e-06, relative to the largest result"
    assert lines[1].split(maxsplit=2) == ["holds", "causality", "25 inputs, largest difference 2e-08"]
    assert lines[2].endswith("differs by 0.2 in row 0, position 1 with x = [[0, 3]]; it holds otherwise")
    assert lines[3].endswith("ValueError: no with x = [[1]]; documented")
    assert lines[4].split(maxsplit=2) == ["not", "tried", "save and load               it has no file"]
    assert lines[5].endswith("no gradient for a, a, a and 1 more with x = [[1]]")
    assert lines[7:] == ["left padding, confirmed by this program:", "", "import torch"]
    assert str(REPORT) == REPORT.text()


def test_the_representation_is_one_line():
    assert repr(REPORT) == "<report of Model: violated: left padding, gradients of idle parts>"
    refused = Finding("causality", "refused", error="ValueError: no")
    report = Report("Model", 1e-6, None, (*FINDINGS[:2], refused), {}, 1.0)
    assert repr(report) == "<report of Model: violated: left padding; refused: causality>"
    assert repr(Report("Model", 1e-6, None, FINDINGS[2:4], {}, 1.0)) == "<report of Model: ok>"


def test_why_programs_were_not_run():
    report = Report("Model", 1e-6, None, FINDINGS, {}, 1.0, "they cannot import f; give source=")
    assert report.text().splitlines()[-1] == "programs were not run: they cannot import f; give source="
    assert json.loads(report.json())["why_not_run"] == report.why_not_run


def test_violations():
    assert not REPORT.ok
    assert [finding.name for finding in REPORT.violations] == ["left padding", "gradients of idle parts"]
    assert Report("Model", 1e-6, 1e-7, FINDINGS[2:4], {}, 1.0).ok


def test_a_finding_by_name():
    assert REPORT["save and load"].reason == "it has no file"
    with pytest.raises(KeyError):
        REPORT["speed"]


def test_json():
    values = json.loads(REPORT.json())
    assert values["findings"][1]["position"] == 1
    assert values["drift"] is None
