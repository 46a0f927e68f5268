"""The page of checked models: it is what its files say, and what it prints as violated is confirmed."""

import pytest

from benchmarks.check_models import PAGE, limits, page, reports, table, violations
from benchmarks.checked_models import MODELS, PRESETS
from sma.architectures.presets.by_name import model_presets
from sma.testing import Finding, Report

FOUND = reports()


def test_the_page_is_what_the_command_writes():
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, FOUND) == text


def test_every_model_was_checked():
    assert FOUND.keys() == MODELS.keys() | PRESETS.keys()
    assert not MODELS.keys() & PRESETS.keys()  # each has a file of its own
    assert PRESETS.keys() == model_presets().keys()


def test_violations_have_a_short_program_that_shows_them():
    for name, report in FOUND.items():
        for finding in report.violations:
            assert finding.confirmed
            assert len(finding.program.splitlines()) - len(MODELS[name].source) < 20


def test_what_no_program_shows_is_not_printed_as_a_violation():
    names = [finding.name for finding in next(iter(FOUND.values()))]
    findings = {name: Finding(name, "holds", n_trials=1, difference=0.0) for name in names}
    findings["packed rows"] = Finding("packed rows", "unconfirmed", program="p", confirmed=False)
    reports = {"m": Report("M", 1e-6, None, tuple(findings.values()), {}, 1.0)}
    assert "| unconfirmed | +" in table({"m": "Model"}, reports)
    assert violations({"m": "Model"}, reports) == ""


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_all_properties(name):
    assert FOUND[name].ok


def test_tables_and_lists():
    names = [finding.name for finding in next(iter(FOUND.values()))]
    findings = {name: Finding(name, "holds", n_trials=1, difference=0.0) for name in names}
    findings["left padding"] = Finding("left padding", "limit", "documented")
    findings["packed rows"] = Finding(
        "packed rows", "violated", n_trials=1, difference=1.0, input="x = [[1]]", program="p", confirmed=True
    )
    report = Report("M", 1e-6, None, tuple(findings.values()), {}, 1.0)
    *_, row = table({"m": "Model"}, {"m": report}).splitlines()
    assert row.startswith("| Model | + | + | + | + | limit | + | **no** | + |")
    assert limits({"m": "Model"}, {"m": report}) == "- Model, left padding: documented"
    assert violations({"m": "Model"}, {"m": report}).startswith(
        "### Model: packed rows\n\nDiffers by 1 with x"
    )
