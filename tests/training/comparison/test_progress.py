"""The progress of a comparison: a table in a terminal, lines in a pipe; and its end."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sma.training.comparison.compare import Progress
from sma.training.comparison.measurements import Comparison
from sma.training.comparison.plan import Plan
from sma.training.comparison.progress import Table, show


@pytest.fixture
def progress() -> Progress:
    """Two runs, one of which is at work."""
    plan = Plan.model_validate(
        {
            "match": "steps",
            "budgets": [5],
            "seeds": [0, 1],
            "learning_rates": [],
            "validations": 1,
            "lengths": [3],
            "models": [
                {
                    "name": "mine",
                    "source": "a.yaml",
                    "fields": {},
                    "control": None,
                    "of": None,
                    "operations": 1,
                }
            ],
        }
    )
    found = Progress(plan)
    job: Any = SimpleNamespace(name="mine-5-seed1", progress=0.4, step=2)
    found.jobs.running["mine-5-seed1"] = job
    return found


def shown(progress: Progress, *, terminal: bool) -> str:
    text = io.StringIO()
    with Table(Console(file=text, force_terminal=terminal, width=80)) as table:
        table.update(progress, None)
        table.update(progress, "mine-5-seed0: done")
    return text.getvalue()


def test_a_terminal_shows_the_runs_at_work(progress: Progress) -> None:
    text = shown(progress, terminal=True)
    for part in ("mine-5-seed1", "40 %", "0 of 2 runs finished", "mine-5-seed0: done"):
        assert part in text


def test_a_pipe_gets_lines_alone(progress: Progress) -> None:
    assert shown(progress, terminal=False) == "mine-5-seed0: done\n"


def test_the_end_names_crossings_and_missing_runs(comparison: Comparison, tmp_path: Any) -> None:
    text = io.StringIO()
    show(Console(file=text, width=200), tmp_path, comparison)
    for part in ("100G operations", "routed overtakes wide", "not run: wide", "out of <memory>", "page: "):
        assert part in text.getvalue()
