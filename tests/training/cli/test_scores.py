"""Commands that score and predict: the reported figure, other data, JSON, kinds of one's own."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from browsing import Browser

import sma.spec.registry as registry
from sma.training import imported
from tests.training.tables import write_csv, write_jsonl

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMA_CACHE", str(tmp_path / "cache"))


def test_evaluate_repeats_the_reported_figure(sma: Command, run: Path) -> None:
    bits = json.loads((run / "results.json").read_text())["test"]["bits"]
    assert f"{bits:.4f}" in sma("evaluate", run).output
    assert sma("evaluate", run, "--weights", "last", "--split", "validation").exit_code == 0


def test_evaluate_writes_json(sma: Command, run: Path) -> None:
    reported = json.loads((run / "results.json").read_text())["test"]
    found = json.loads(sma("evaluate", run, "--json").stdout)
    assert (found["unit"], found["headline"], found["split"]) == ("byte", "bits", "test")
    for name in ("bits", "loss", "accuracy", "n_targets", "activation_rates"):
        assert found[name] == reported[name]


def test_evaluate_reads_other_data(sma: Command, run: Path, text_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("one line of other text\n" * 3)
    found = json.loads(sma("evaluate", run, "--data", tmp_path / "one.txt", "--json").stdout)
    assert found["n_targets"] == (tmp_path / "one.txt").stat().st_size
    other = tmp_path / "other"
    other.mkdir()
    for name in ("train", "valid", "test"):
        (other / f"{name}.txt").write_text(f"{name} " * 30)
    result = sma("evaluate", run, "--set", f"task.folder={other}", "--json")
    assert json.loads(result.stdout)["n_targets"] == 5 * 30
    assert sma("evaluate", run, "--set", "batch_size=3").exit_code == 2


def test_predict_scores_each_line(sma: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("line 1 of file 2\n\nsome other thing\n")
    rows = [json.loads(line) for line in sma("predict", run, tmp_path / "lines.txt").stdout.splitlines()]
    assert [row["n_bytes"] for row in rows] == [16, 0, 16]
    whole = json.loads(sma("evaluate", run, "--data", tmp_path / "lines.txt", "--json").stdout)
    assert rows[0]["bits"] > 0
    assert whole["n_targets"] == 35


def test_inspect_prints_a_table_and_writes_a_page(sma: Command, browser: Browser, run: Path) -> None:
    result = sma("inspect", run, "--rows", "4", "--flips", "3", "--example", "0", "--example", "1")
    assert result.exit_code == 0, result.output
    for text in ("layer 1, GAU", "layer 2, GAU", "all", "gain, active"):
        assert text in result.output
    page = run / "inspection.html"
    assert f"page: {page}" in result.output
    browser.check(page, lambda opened: opened.locator("#row .flip").first.click())


def test_inspect_prints_json(sma: Command, run: Path, tmp_path: Path) -> None:
    result = sma(
        "inspect", run, "--rows", "2", "--flips", "2", "--example", "1", "--json", "--weights", "last"
    )
    found = json.loads(result.stdout)
    assert found["n_rows"] == 2
    assert [example["number"] for example in found["examples"]] == [1]
    assert len(found["examples"][0]["flips"]) == 2 * 2
    assert {group["name"] for group in found["roles"]} <= {"letter", "digit", "space", "punctuation", "other"}
    assert len(found["training"]["steps"]) == 6
    assert not (tmp_path / "inspection.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--example", "99"], "example 99, but the test split"),
        (["--split", "training"], "--split training: use test or validation"),
        (["--weights", "mean"], "--weights mean: use best or last"),
        (
            ["--rows", "1", "--flips", "1", "--out", "/nowhere/page.html"],
            "--out /nowhere/page.html: there is no folder /nowhere",
        ),
    ],
)
def test_inspect_says_in_one_line_what_is_wrong(
    sma: Command, run: Path, arguments: list[str], message: str
) -> None:
    result = sma("inspect", run, *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    write_csv(path, [{"text": f"{'good' if i % 2 else 'bad'} {i}", "mood": "pn"[i % 2]} for i in range(60)])
    return path


def test_a_table_is_learned_scored_and_predicted(sma: Command, reviews: Path, tmp_path: Path) -> None:
    sizes = [f"model.{name}=4" for name in ("d_model", "d_qk", "d_hidden", "window", "d_state")]
    task = [f"task.train={reviews}", "task.inputs=text", "task.label=mood"]
    settings = [part for each in (*sizes, *task, "model.n_layers=1") for part in ("--set", each)]
    options = ("--steps", 2, "--out", tmp_path, "--name", "run")
    result = sma("train", "--task", "table_classification", *options, *settings)
    assert result.exit_code == 0, result.output
    run = tmp_path / "run"
    new = tmp_path / "new.jsonl"
    write_jsonl(new, [{"text": "a good thing"}, {"text": "bad"}])
    assert sma("predict", run, new, "--out", tmp_path / "out.jsonl").stdout == ""
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert lines == sma("predict", run, new).stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["row"] for row in rows] == [1, 2]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4) for row in rows)
    found = json.loads(sma("evaluate", run, "--data", reviews, "--json").stdout)
    assert found["n_targets"] == 60
    (tmp_path / "cut.jsonl").write_text('{"text": "a"}\n{"tex')
    for arguments, message in (
        (["predict", run, tmp_path / "none.csv"], "there is no file"),
        (["predict", run, tmp_path / "cut.jsonl"], "cut.jsonl, line 2, is not JSON"),
        (["predict", run, new, "--out", tmp_path / "out.jsonl"], "exists already; name a new file"),
        (["evaluate", run, "--data", new], "new.jsonl, line 1, lacks 'mood'"),
        (["evaluate", run, "--data", reviews, "--split", "validation"], "leave out --split"),
        (["evaluate", run, "--set", "task.test=nowhere.csv"], "task.test: 'nowhere.csv' is neither a file"),
    ):
        result = sma(*arguments)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


MODULE = """
from typing import Literal
from sma import register
from sma.training.tasks import TaskSpec, from_dataset

@register
class MineSpec(TaskSpec):
    kind: Literal["mine"] = "mine"

    def build(self):
        return from_dataset([("ab"[i % 2] * (i + 1), i % 2) for i in range(60)], title="mine")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "module_with_a_task_of_its_own"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(imported, "_names", [])
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield name
    sys.modules.pop(name, None)
    for key, spec in list(registry._registered.items()):
        if spec.__module__ == name:
            del registry._registered[key]


def test_kinds_of_an_imported_module(
    sma: Command, values: dict[str, Any], module: str, tmp_path: Path
) -> None:
    model = {**values["model"], "n_classes": 2}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**values, "model": model, "task": "mine"}))
    refused = sma("train", "--spec", "run.yaml")
    assert "unknown kind 'mine' of TaskSpec (is its package installed, or imported?)" in refused.stderr
    options = ("--import", module)
    result = sma("train", "--spec", "run.yaml", "--out", ".", "--name", "run", *options)
    assert result.exit_code == 0, result.output
    write_jsonl(tmp_path / "new.jsonl", [{"inputs": "aaa"}, {"inputs": "b"}])
    for arguments in (
        ("train", "--resume", "run"),
        ("evaluate", "run"),
        ("report", "run"),
        ("describe", "run"),
        ("predict", "run", "new.jsonl"),
    ):
        result = sma(*arguments, *options)
        assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 2


def test_the_command_to_go_on_imports_the_same(sma: Command, module: str, tmp_path: Path) -> None:
    from sma.training import Run

    assert sma("schema", "--import", module).exit_code == 0
    assert Run(Path("run")).resume == f"sma train --import {module} --resume run"
    assert Run(Path("run")).again == f"sma train --import {module} --spec run/spec.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module", "--import no_such_module: there is no module no_such_module; install it, or call"),
        ("sma.no_such_part", "--import sma.no_such_part: there is no module sma.no_such_part"),
        ("my_module.py", "--import my_module.py: name a module as Python does"),
    ],
)
def test_modules_that_cannot_be_imported(sma: Command, name: str, message: str) -> None:
    result = sma("schema", "--import", name)
    assert result.exit_code == 2
    assert message in result.stderr
