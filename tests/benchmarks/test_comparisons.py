import subprocess
from types import SimpleNamespace

import pytest

from benchmarks import comparisons
from benchmarks.comparisons import Study, make, read, run_name
from sma.training.comparison import jobs
from tests.training.comparison.test_compare import Here

STUDY = """
task: associative_recall
budgets: [2]
seeds: 2
set: [task.length=16, task.n_pairs=2, task.n_queries=2, task.n_evaluation=100, batch_size=2, model.d_model=8,
      model.blocks.0.repeat=1]
models:
  learned: {controls: [random, never]}
  half: {set: ["model.blocks.0.branches.1.router={kind: random, rate: 0.5}"]}
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "subprocess", SimpleNamespace(Popen=Here, PIPE=subprocess.PIPE))
    monkeypatch.setattr("sma.training.comparison.compare.POLL", 0)
    monkeypatch.setattr("sma.training.comparison.compare.write_pages", lambda folder, found: None)
    monkeypatch.setattr(Here, "started", [])
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def test_a_study_is_what_the_command_takes(path):
    study = Study.read(path)
    assert study.names == ["learned", "learned-random", "learned-never", "half"]
    arguments = study.arguments()
    assert arguments["controls"] == ["learned:random", "learned:never"]
    assert arguments["settings"][-1] == "half:model.blocks.0.branches.1.router={kind: random, rate: 0.5}"
    assert arguments["specs"] == {"learned": "ready", "half": "ready"}


def test_a_study_is_kept_with_needs_and_grows_by_seeds(path, monkeypatch):
    make(path, 1, 1)
    first = read(path.with_suffix(".json"))
    assert sorted(run.model for run in first.runs) == ["half", "learned", "learned-never", "learned-random"]
    assert first.needs["learned-2-seed0"][0].random_precision == pytest.approx(0.375, abs=0.15)
    assert first.needs.keys() == {run_name(run) for run in first.runs if run.rates}
    monkeypatch.setattr(comparisons, "read_decisions", None)  # what was measured is not measured again
    make(path, 1, 1)
    assert len(Here.started) == 4
    assert read(path.with_suffix(".json")) == first
    assert len(path.with_suffix(".json").read_text().splitlines()) < 30


def test_nothing_is_kept_of_what_was_not_run(path):
    assert read(path.with_suffix(".json")) is None
