import json

import pytest

from benchmarks.findings import FOLDER, PAGE, figure, page, table_lines
from benchmarks.runs import Table, read_results

TABLES = sorted(FOLDER.glob("*.yaml"))


def result(value, rate=0.25, **others):
    fields = {"headline": "bits", "parameters": 1500, "operations": 2400, "cpu_seconds": 1.0, "peak_mb": 9}
    return {**fields, "activation": [rate], "curve": [[2, 9.0, 0.1], [4, value, 0.5]], **others}


def test_the_page_is_what_the_command_writes():
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_results_are_of_runs_that_their_table_can_build(path):
    table = Table.read(path)
    assert read_results(path).keys() <= table.runs.keys()
    for name in table.runs if table.kept else ():
        table.spec(name, 0)


def test_a_table_has_means_ranges_paired_differences_and_what_was_not_run():
    table = Table(task="digits", runs={"first": (), "second": (), "third": ()})
    results = {
        "second": {"0": result(2.25), "2": result(2.75, rate=0.75)},
        "first": {"0": result(2.0), "1": result(3.0)},
    }
    *_, first, second, empty, missing = table_lines(table, results)
    assert first == "| first | 0, 1 | 2.500 (2.000 to 3.000) |  | 2k | 2k | 1 | 25 |"
    assert second == "| second | 0, 2 | 2.500 (2.250 to 2.750) | +0.250 | 2k | 2k | 1 | 50 |"
    assert (empty, missing) == ("", "Not run: third.")


def test_accuracy_is_in_percent():
    runs = {"only": {"0": result(1.0, headline="accuracy")}}
    assert "| only | 0 | 50.0 |" in table_lines(Table(task="digits", runs={"only": ()}), runs)[-1]


def test_a_table_of_which_nothing_was_run():
    assert table_lines(Table(task="digits", runs={"a": (), "b": ()}), {}) == ["Not run: a; b."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learned", "2.500"),
        ("learned @ 1", "3.000"),
        ("learned - never", "-0.500 (-1.000 to +0.000)"),
        ("learned of never to always", "25 %"),
        ("needs of learned", "layer 1: 40 and 60 %, layer 2: 25 and 100 % (25 % are needed)"),
    ],
)
def test_figures_in_the_text(text, expected):
    runs = {
        "never": {"0": result(3.0), "1": result(3.0)},
        "learned": {
            "0": result(2.0, needs=[[0.3, 0.5, 0.25], [0.25, 1.0, 0.25]]),
            "1": result(3.0, needs=[[0.5, 0.7, 0.25], [0.25, 1.0, 0.25]]),
        },
        "always": {"0": result(1.0), "1": result(1.0), "2": result(9.0)},
    }
    assert figure(runs, text) == expected


def test_text_takes_tables_and_figures(tmp_path):
    (tmp_path / "one.yaml").write_text("task: digits\nruns: {only: []}\n")
    (tmp_path / "one.json").write_text(json.dumps({"only": {"0": result(2.0)}}))
    (tmp_path / "page.md").write_text("a {{one: only}} b\n\n{{table one}}\n")
    first, _, *table = page(tmp_path).splitlines()
    assert first == "a 2.000 b"
    assert table == table_lines(*[f(tmp_path / "one.yaml") for f in (Table.read, read_results)])
