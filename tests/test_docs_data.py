"""The examples of the page on data run, in the order of the page, in one folder."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sma.spec.registry
from sma.training import imported
from sma.training.cli.app import app

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
BLOCK = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(imported, "_names", [])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("my_tasks", None)
    for key, spec in list(sma.spec.registry._registered.items()):
        if spec.__module__ == "my_tasks":
            del sma.spec.registry._registered[key]


def run_command(line):
    program, *arguments = shlex.split(line)
    assert program == "sma"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"{line}\n{result.output}"


def test_the_page_on_data_runs(folder):
    namespace = {"__name__": "page"}
    seen = set()
    for language, mark, content in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        seen.add((language, mark.partition("=")[0]))
        if mark == "datasets":
            save_dataset(folder / "folder")
        if mark.startswith("title="):
            (folder / mark.removeprefix("title=")).write_text(content)
        elif language == "python":
            exec(content, namespace)
        else:
            for line in content.replace("\\\n", " ").splitlines():
                run_command(line)
    assert {
        ("sh", ""),
        ("python", "run"),
        ("yaml", "title"),
        ("python", "title"),
        ("python", "datasets"),
    } <= seen
    reported = {path.parent.name for path in (folder / "runs").glob("*/report.html")}
    assert {
        "sums",
        "text",
        "tokens",
        "reviews",
        "series",
        "column",
        "waves",
        "from_python",
        "parquet",
    } <= reported
    facts = json.loads((folder / "runs" / "sums" / "facts.json").read_text())["data"]
    assert "training from train.txt; validation from valid.txt; test from test.txt" in facts["split"]


def save_dataset(path):
    import datasets

    rows = {"text": [f"{i} rows" for i in range(20)], "label": [i % 2 for i in range(20)]}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)}).save_to_disk(path)
