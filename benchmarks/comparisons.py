"""Make the comparisons of docs/results.md, and keep what they measured in a small file beside each.

    python -m benchmarks.comparisons benchmarks/results/recall_8.yaml [...] [--seeds 1] [--jobs 1]

A comparison is a YAML file that holds what `sma compare` takes. Its runs are kept in `runs/comparisons/NAME`,
so the command may be stopped and started again, and be given more seeds. What results.json says of finished
runs is copied to `NAME.json`, with the agreement of activations and needs where the task knows these.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from sma.architectures.files.atomic import write_whole
from sma.spec.base import Fields
from sma.training import compare
from sma.training.comparison.compare import RUNS, Progress
from sma.training.comparison.measurements import Comparison, RunRecord
from sma.training.comparison.plan import Cell
from sma.training.inspection.decisions import pick_rows, read_decisions
from sma.training.inspection.findings import agreements
from sma.training.inspection.reader import Reader
from sma.training.results import best_model
from sma.training.run.folder import Run
from sma.training.tasks.needs_section import Agreement
from sma.training.tasks.task import Task

OUT = Path("runs/comparisons")
N_ROWS = 100
"""Test rows whose activations are compared with what answers need."""


class Model(Fields):
    """A model that is compared.

    Attributes:
        source: as `sma compare` takes it.
        set: fields that are changed, as `FIELD=VALUE`.
        controls: that are made of it.
    """

    source: str = "ready"
    set: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()


class Study(Fields):
    """What is compared, see `sma.training.compare`.

    Attributes:
        task: its kind.
        match: what budgets are of.
        budgets: of each its own runs.
        seeds: how many are wanted.
        set: fields that are changed for all models.
        learning_rates: to try for each model.
        models: by name; the others are compared with the first.
    """

    task: str
    match: Literal["operations", "seconds", "steps"] = "steps"
    budgets: tuple[float, ...] = Field(min_length=1)
    seeds: int = 3
    set: tuple[str, ...] = ()
    learning_rates: tuple[float, ...] = ()
    models: dict[str, Model] = Field(min_length=1)

    @classmethod
    def read(cls, path: Path) -> "Study":
        """That of a YAML file."""
        return cls.model_validate(yaml.safe_load(path.read_text()))

    @property
    def names(self) -> list[str]:
        """Of the models and their controls."""
        return [
            name
            for model, fields in self.models.items()
            for name in (model, *(f"{model}-{control}" for control in fields.controls))
        ]

    def arguments(self) -> dict[str, Any]:
        """Those of `sma.training.compare`, but for the folder and the seeds."""
        return {
            "specs": {name: model.source for name, model in self.models.items()},
            "task": self.task,
            "match": self.match,
            "budgets": self.budgets,
            "learning_rates": self.learning_rates,
            "settings": [*self.set, "device=cpu", "threads=1", *self._own("set")],
            "controls": self._own("controls"),
        }

    def _own(self, field: str) -> list[str]:
        return [f"{name}:{text}" for name, model in self.models.items() for text in getattr(model, field)]


class Measured(Comparison):
    """What is kept of a comparison.

    Attributes:
        needs: how activations agree with what answers need, by run and routed module.
    """

    needs: dict[str, list[Agreement]]


def needs_met(
    folder: Path, found: Comparison, known: dict[str, list[Agreement]], *, searched: bool
) -> dict[str, list[Agreement]]:
    """The agreement of activations and needs in every run of a routed model; nothing if needs are unknown.

    Args:
        folder: of the comparison.
        found: its runs.
        known: what was measured before.
        searched: whether the learning rate was, which is part of the folders' names then.
    """
    result: dict[str, list[Agreement]] = {}
    task: Task | None = None
    for record in found.runs:
        if not record.rates or not record.chosen:
            continue
        cell = Cell(record.model, record.budget, record.seed, record.learning_rate if searched else None)
        run = Run(folder / RUNS / cell.name)
        task = task or run.spec().task.build()
        rows = pick_rows(task, "test", N_ROWS, range(N_ROWS))
        if rows[0].needs is None:
            return {}
        name = run_name(record)
        result[name] = known.get(name) or agreements(read_decisions(Reader(best_model(run)), rows))
    return result


def run_name(record: RunRecord) -> str:
    """What a run that counts is called."""
    return Cell(record.model, record.budget, record.seed).name


def write(found: Measured, path: Path) -> None:
    """Keep what was measured so far, a line per run."""
    fields = found.model_dump(mode="json", exclude={"runs", "missing"})
    head = "".join(f"{json.dumps(name)}: {json.dumps(value)},\n" for name, value in fields.items())
    runs = ",\n".join(run.model_dump_json() for run in found.runs)
    write_whole(path, f'{{\n{head}"missing": [],\n"runs": [\n{runs}\n]\n}}\n')


def read(path: Path) -> Measured | None:
    """What was kept; None if nothing was."""
    return Measured.model_validate_json(path.read_text()) if path.exists() else None


def make(path: Path, seeds: int | None, jobs: int) -> None:
    """Make, or finish, the comparison of a YAML file."""
    study, kept = Study.read(path), path.with_suffix(".json")
    found = compare(
        **study.arguments(), out=OUT / path.stem, seeds=seeds or study.seeds, jobs=jobs, listener=_print
    )
    before = read(kept)
    known = {} if before is None else before.needs
    needs = needs_met(OUT / path.stem, found, known, searched=bool(study.learning_rates))
    write(Measured(**dict(found), needs=needs), kept)


def _print(progress: Progress, line: str | None) -> None:
    if line is not None:
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for path in options.studies:
        make(path, options.seeds, options.jobs)


if __name__ == "__main__":
    main()
