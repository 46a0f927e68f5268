import json

import pytest

from benchmarks.comparisons import Measured, Study, read, write
from benchmarks.findings import FOLDER, PAGE, figure, page, table_lines
from sma.training.comparison.controls import CONTROLS
from sma.training.tasks.needs_section import Agreement
from tests.training.comparison.conftest import made_up, run_of

STUDIES = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture
def found():
    return Measured(**dict(made_up()), needs={})


def study(*names, **changes):
    fields = {"task": "digits", "match": "operations", "budgets": [1e11, 1e12, 1e13], "seeds": 2}
    return Study(**fields | {"models": {name: {} for name in names}} | changes)


def test_the_page_is_what_the_command_writes():
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_results_are_of_models_of_their_study(path):
    planned, kept = Study.read(path), read(path.with_suffix(".json"))
    assert all(control in CONTROLS for model in planned.models.values() for control in model.controls)
    if kept is not None:
        assert {run.model for run in kept.runs} <= set(planned.names)
        assert set(kept.budgets) <= set(planned.budgets)


def test_tables_are_those_of_the_comparison_and_say_what_was_not_run(found):
    lines = table_lines(study("routed", "wide", "third"), found)
    assert lines[0] == "At 100G operations:"
    assert lines[2].startswith("| model | bits per byte | difference to routed | operations |")
    assert lines[4].startswith("| wide | 2.250 ± 0.071 (2) | -0.100 [-0.200 to +0.000] | 100G |")
    assert [line for line in lines if "overtakes" in line] == [
        "- routed overtakes wide at about 2.51T operations (between 1T and 10T)"
    ]
    assert lines[-2:] == [
        "Not run: 10T operations, 1 of 2 seeds of wide.",
        "Not run: 10T operations, 2 of 2 seeds of third.",
    ]


def test_a_study_of_which_nothing_was_run():
    assert table_lines(study("a", "b", budgets=[10.0], seeds=3), None) == [
        "Not run: 3 of 3 seeds of all models."
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("routed", "1.650"),
        ("wide @ 1e12", "1.950"),
        ("wide - routed @ 1e12", "-0.100 [-0.200 to +0.000]"),
        ("rates of routed", "25, 35 %"),
        ("needs of routed", "layer 1: 40 and 60 %, layer 2: 0 and 100 % (25 % are needed)"),
    ],
)
def test_figures_in_the_text(found, text, expected):
    layers = [Agreement("a", 0.3, 0.4, 0.6, 0.25, 0.3), Agreement("b", 0.0, None, 1.0, 0.25, 0.3)]
    layers.append(Agreement("any", 0.3, 0.5, 0.5, 0.25, 0.3))
    needs = {f"routed-1e+13-seed{i}": layers for i in (0, 1)}
    assert figure(found.model_copy(update={"needs": needs}), text) == expected


def test_a_figure_may_be_a_share_of_the_way_between_two_models(found):
    third = [run_of("third", 1e13, seed, 1.5) for seed in (0, 2)]
    more = found.model_copy(update={"runs": [*found.runs, *third]})
    assert figure(more, "routed of wide to third") == "67 %"


def test_a_figure_of_what_was_not_run_is_an_error(found):
    with pytest.raises(ValueError, match="not run"):
        figure(found, "absent")
    more = found.model_copy(update={"runs": [*found.runs, run_of("other", 1e13, 7, 1.0)]})
    with pytest.raises(ValueError, match="no seed in common"):
        figure(more, "other - routed")


def test_what_is_written_is_read(found, tmp_path):
    whole = found.model_copy(update={"missing": []})
    write(whole, tmp_path / "one.json")
    assert read(tmp_path / "one.json") == whole
    assert len(json.loads((tmp_path / "one.json").read_text())["runs"]) == 11


def test_text_takes_tables_and_figures(found, tmp_path):
    (tmp_path / "one.yaml").write_text(
        "task: digits\nmatch: operations\nbudgets: [1e+11, 1e+12, 1e+13]\nseeds: 2\n"
        "models: {routed: {}, wide: {}}\n"
    )
    (tmp_path / "page.md").write_text("a {{one: routed}} b\n\n{{table one}}\n")
    with pytest.raises(ValueError, match=r"one: routed.*not run"):
        page(tmp_path)
    write(found.model_copy(update={"missing": []}), tmp_path / "one.json")
    first, _, *table = page(tmp_path).splitlines()
    assert first == "a 1.650 b"
    assert table == table_lines(Study.read(tmp_path / "one.yaml"), found)
