"""Whole comparisons of tiny models: controls, searches, kill -9 at any point, and what is refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sma
from sma.training import Run, RunError, compare, resume
from sma.training.comparison import jobs
from sma.training.comparison.measurements import Comparison, read_comparison

TINY = [
    "task.length=16",
    "task.evaluation_length=64",
    "task.validation_share=0.2",
    "task.test_share=0.2",
    "model.d_model=8",
    "batch_size=2",
]
SIZES = "n_layers=1,d_qk=4,d_hidden=8,window=4,d_state=2"
SPECS = {"routed": f"preset:seqboat,{SIZES}", "plain": "preset:ssm_only,n_layers=1,d_state=2"}
BUDGET = 3e6
PATH = str(Path(sma.__file__).parents[1])


class Here:
    """What trains a run in this process, in the place of a process of its own."""

    started: list[str] = []  # noqa: RUF012
    fails: Callable[[Run], bool] = staticmethod(lambda run: False)

    def __init__(self, arguments: list[str], **options: Any) -> None:
        run = Run.open(arguments[3])
        Here.started.append(run.path.name)
        self.stdin, self.stdout = open(os.devnull, "wb"), ()  # noqa: SIM115
        self.returncode = 0
        if Here.fails(run):
            self.stdout = (json.dumps({"error": "the loss is nan"}).encode(),)
            self.returncode = 1
        else:
            resume(run, run.spec(), report=False)

    def poll(self) -> int:
        return self.returncode

    def kill(self) -> None:
        pass

    wait = poll


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    monkeypatch.setattr(jobs, "subprocess", SimpleNamespace(Popen=Here, PIPE=subprocess.PIPE))
    monkeypatch.setattr("sma.training.comparison.compare.POLL", 0)
    monkeypatch.setattr("sma.training.comparison.compare.write_pages", lambda folder, found: None)
    Here.started, Here.fails = [], staticmethod(lambda run: False)
    return Here


@pytest.fixture
def options(text_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "out": tmp_path / "out",
        "budgets": [BUDGET],
        "task": "text_files",
        "seeds": 1,
        "settings": [f"task.folder={text_folder}", *TINY],
    }


def by_cell(found: Comparison) -> dict[tuple[str, float, int], Any]:
    return {(run.model, run.budget, run.seed): run for run in found.runs}


def test_controls_spend_what_their_learned_run_spent(here: type[Here], options: dict[str, Any]) -> None:
    found = compare(SPECS, **options, controls=["always", "never", "random", "window", "wider"])
    runs = by_cell(found)
    assert len(runs) == len(here.started) == 7
    assert not found.missing
    for (model, _, seed), run in runs.items():
        first_step = run.operations / run.steps
        assert BUDGET <= run.operations < BUDGET + 2 * first_step
        learned = runs["routed", BUDGET, seed]
        if model == "routed-random":
            (rate,) = learned.course["blocks.0.branches.1"]
            assert run.course["blocks.0.branches.1"] == [pytest.approx(rate, abs=0.2)]
            spec = Run.open(options["out"] / "runs" / f"routed-random-{BUDGET:.0f}-seed{seed}").spec()
            assert spec.model.blocks[0].branches[1].router.rate == rate
        if model == "routed-wider":
            ours, theirs = run.operations / run.elements, learned.operations / learned.elements
            assert ours == pytest.approx(theirs, rel=0.2)
        if model == "routed-always":
            assert run.rates == {"blocks.0.branches.1": [1.0]}
        if model in ("routed-never", "routed-wider", "plain"):
            assert run.rates == {}
    assert runs["routed-never", BUDGET, 0].quality == runs["plain", BUDGET, 0].quality
    assert read_comparison(options["out"]) == found
    again = compare(SPECS, **options, controls=["always", "never", "random", "window", "wider"])
    assert (again, len(here.started)) == (found, 7)


def test_all_models_see_the_same_batches(here: type[Here], options: dict[str, Any]) -> None:
    seen: dict[str, list[Any]] = {}

    def noted(task: Any, batch_size: int, generator: Any) -> Any:
        batch = original(task, batch_size, generator)
        seen.setdefault(here.started[-1] if here.started else "", []).append(batch.inputs.tolist())
        return batch

    from sma.training.tasks.text.text_task import TextTask

    original = TextTask.training_batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextTask, "training_batch", noted)
        compare(SPECS, **options | {"match": "steps", "budgets": [3], "seeds": 2})
    routed, plain = seen["routed-3-seed0"], seen["plain-3-seed0"]
    assert routed[-3:] == plain[-3:]
    assert seen["routed-3-seed1"][-3:] != routed[-3:]


def test_a_search_tries_rates_with_the_first_seed_alone(here: type[Here], options: dict[str, Any]) -> None:
    here.fails = staticmethod(lambda run: run.spec().learning_rate == 1.0)
    rates = [1e-5, 1e-2, 1.0]
    changes = {"match": "steps", "budgets": [6], "seeds": 2}
    found = compare(SPECS, **options | changes, learning_rates=rates)
    assert len(here.started) == 2 * 3 + 2
    chosen = {(run.model, run.seed): run for run in found.runs if run.chosen}
    assert len(chosen) == 4
    for run in chosen.values():
        tried = [other for other in found.runs if (other.model, other.seed) == (run.model, 0)]
        assert run.learning_rate == min(tried, key=lambda other: other.validation_loss).learning_rate
    assert {(one.model, one.reason) for one in found.missing} == {
        ("routed", "the loss is nan"),
        ("plain", "the loss is nan"),
    }


def test_seconds_are_spent_by_every_model(here: type[Here], options: dict[str, Any]) -> None:
    found = compare(SPECS, **options | {"match": "seconds", "budgets": [0.4]}, controls=["random", "wider"])
    assert len(found.runs) == 4
    assert all(run.steps >= 1 and run.operations for run in found.runs)
    assert all(run.seconds >= 0.4 for run in found.runs)
    for run in options["out"].glob("runs/*"):
        rows = Run.open(run).metrics()
        assert [row["step"] for row in rows if row["split"] == "validation"] == [rows[-1]["step"]]


def test_what_depends_on_a_failed_run_is_not_run(here: type[Here], options: dict[str, Any]) -> None:
    here.fails = staticmethod(lambda run: run.path.name == "routed-3-seed0")
    changes = {"match": "steps", "budgets": [3]}
    found = compare(SPECS, **options | changes, controls=["random", "never"])
    reasons = {(one.model, one.seed): one.reason for one in found.missing}
    assert reasons == {
        ("routed", 0): "the loss is nan",
        ("routed-random", 0): "the run that it depends on failed",
    }
    here.fails = staticmethod(lambda run: False)
    here.started.clear()
    assert not compare(SPECS, **options | changes, controls=["random", "never"]).missing
    assert here.started == ["routed-3-seed0", "routed-random-3-seed0"]


def test_a_control_that_cannot_be_made_is_listed(
    here: type[Here], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*told: Any) -> None:
        raise ValueError("there is no such width")

    monkeypatch.setattr("sma.training.comparison.controls.wider", refuses)
    found = compare(SPECS, **options | {"match": "steps", "budgets": [2]}, controls=["wider"])
    assert [(one.model, one.reason) for one in found.missing] == [("routed-wider", "there is no such width")]
    assert len(found.runs) == 2


def test_seeds_budgets_and_specs_may_be_added(here: type[Here], options: dict[str, Any]) -> None:
    small = options | {"match": "steps", "budgets": [2]}
    first = compare(SPECS, **small)
    more = {**SPECS, "another": SPECS["plain"]}
    grown = compare(more, **small | {"budgets": [1, 2], "seeds": 2})
    assert len(grown.runs) == 3 * 2 * 2 == len(here.started)
    assert all(run in grown.runs for run in first.runs)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"budgets": [4]}, "budgets ([3.0] there, [4.0] here)"),
        ({"match": "seconds"}, "match ('steps' there, 'seconds' here)"),
        ({"learning_rates": [0.1]}, "learning_rates ([] there, [0.1] here)"),
        ({"specs": {"plain": SPECS["plain"]}}, "the first spec ('routed' there, 'plain' here)"),
        ({"specs": {"routed": SPECS["routed"]}}, "specs and controls ('with plain' there, 'without' here)"),
        ({"settings": ["learning_rate=0.5"]}, "routed.learning_rate (0.007 there, 0.5 here)"),
    ],
)
def test_a_folder_of_other_arguments(
    here: type[Here], options: dict[str, Any], changes: dict[str, Any], told: str
) -> None:
    options |= {"match": "steps", "budgets": [3], "seeds": 1}
    first = compare(SPECS, **options)
    changes = {"specs": SPECS, **changes}
    changes["settings"] = [*options["settings"], *changes.get("settings", [])]
    told = f"holds a comparison with other arguments: {told}; use the same"
    with pytest.raises(ValueError, match=re.escape(told)):
        compare(**{**options, **changes})
    assert compare(SPECS, **options) == first


def test_what_is_refused_leaves_nothing(here: type[Here], options: dict[str, Any]) -> None:
    for changes, told in (
        ({"budgets": [10]}, "budget=10 operations is less than one step of routed"),
        ({"seeds": 0}, "seeds=0 must be at least 1"),
        ({"controls": ["sometimes"]}, "controls: there is no 'sometimes'"),
        ({"specs": {"plain": SPECS["plain"]}, "controls": ["never"]}, "controls: plain has no layer with"),
        ({"specs": {"pixels": "preset:ssm_only,d_input=1,n_classes=2"}}, "pixels: the model cannot read"),
        ({"learning_rates": [0.0]}, "learning_rates: 0 must be positive"),
    ):
        with pytest.raises(ValueError, match=told):
            compare(**{"specs": SPECS, **options, **changes})
    assert not options["out"].exists()


def test_one_process_at_a_time_works_on_a_comparison(here: type[Here], options: dict[str, Any]) -> None:
    from sma.training.run.lock import locked

    options["out"].mkdir()
    with locked(options["out"]), pytest.raises(RunError, match="wait until it ends"):
        compare(SPECS, **options)


def command(options: dict[str, Any]) -> list[str]:
    sets = [part for text in options["settings"] for part in ("--set", text)]
    specs = [f"{name}={spec}" for name, spec in SPECS.items()]
    more = ["--task", "text_files", "--match", "steps", "--budget", "800", "--seeds", "1", "--jobs", "2"]
    return [sys.executable, "-m", "sma", "compare", *specs, *more, "--out", str(options["out"]), *sets]


def children(folder: Path) -> list[int]:
    """The processes of runs in a folder."""
    said = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if "comparison.worker" in line and str(folder) in line]
    return [int(line.split()[0]) for line in lines]


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps, which finds processes")
def test_killed_at_any_point_it_goes_on(options: dict[str, Any]) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PATH}
    first = subprocess.Popen(command(options), env=env, stdout=subprocess.DEVNULL)
    runs = options["out"] / "runs"
    try:
        wait_until(lambda: len(list(runs.glob("*/last.safetensors"))) == 2)
        wait_until(lambda: any(path.stat().st_size > 2_000 for path in runs.glob("*/metrics.jsonl")))
        os.kill(children(runs)[0], signal.SIGKILL)
    finally:
        first.kill()
        first.wait()
    wait_until(lambda: not children(runs))  # the others end by themselves, with a checkpoint
    assert all((run / "last.safetensors").exists() for run in runs.glob("*"))
    done = subprocess.run(command(options), env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = read_comparison(options["out"])
    assert [run.steps for run in found.runs] == [800, 800]
    facts = [Run.open(run).facts() for run in runs.glob("*")]
    assert all(each is not None and len(each.commands) == 2 for each in facts)  # resumed, not begun anew
    assert "routed-800-seed0" in done.stdout
    assert "800 steps" in done.stdout
    assert (options["out"] / "comparison.html").exists()


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
