"""A comparison of models at equal budgets, from specs to results."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sma.architectures.files.atomic import remove_leftovers
from sma.training.comparison.budget import (
    FirstStep,
    Match,
    check_budgets,
    check_step,
    first_step,
    sampled_lengths,
)
from sma.training.comparison.comparison_page import write_pages
from sma.training.comparison.entrants import Source, read_entrants
from sma.training.comparison.jobs import Jobs
from sma.training.comparison.measurements import (
    Comparison,
    Missing,
    ModelRecord,
    RunRecord,
    finished,
    run_record,
    write_comparison,
)
from sma.training.comparison.plan import (
    Cell,
    Plan,
    PlannedModel,
    check_grown,
    control_entrants,
    read_plan,
    write_plan,
)
from sma.training.figures import check_matplotlib
from sma.training.run.errors import RunError
from sma.training.run.folder import Run, guard
from sma.training.run.lock import locked
from sma.training.tasks.task import Task

PLAN, RUNS = "plan.json", "runs"
POLL = 0.2
"""Seconds between looks at the processes."""


@dataclass
class Progress:
    """How far a comparison is; `compare` calls `on_change` with it.

    Attributes:
        plan: its runs.
        done: the finished ones.
        failed: why others failed.
        jobs: the processes at work.
    """

    plan: Plan
    done: dict[Cell, RunRecord] = field(default_factory=dict)
    failed: dict[Cell, str] = field(default_factory=dict)
    jobs: Jobs = field(default_factory=lambda: Jobs(1))


Listener = Callable[[Progress, str | None], None]
"""Called often, and with a line of text for what has happened."""


def compare(
    specs: Sequence[Source] | Mapping[str, Source],
    *,
    out: str | Path,
    budgets: Sequence[float],
    match: Match = "operations",
    task: str | None = None,
    seeds: int = 3,
    controls: Sequence[str] = (),
    learning_rates: Sequence[float] = (),
    settings: Sequence[str] = (),
    validations: int = 4,
    jobs: int = 1,
    listener: Listener = lambda progress, line: None,
) -> Comparison:
    """Train models on the same data until the same budget is spent, and compare them.

    Every run is a process of its own. What is finished is never trained again: called again with the same
    arguments, a comparison goes on where it stopped, however that was; seeds, budgets and specs may be added.

    Args:
        specs: files of models or runs, `preset:NAME,option=value`, `ready` for the model of the task's ready
            run, or specs. The others are compared with the first. A mapping names them, as `NAME=SPEC` does.
        out: the folder of the comparison.
        budgets: of each its own runs, with a schedule that ends there.
        match: what budgets are of: forward operations as realised, seconds of training, or steps.
        task: the kind of the task; None for that of the first file that holds a run, or python_source.
        seeds: how many; with each seed, all models see the same batches in the same order.
        controls: of every model that routes, see `CONTROLS`; `NAME:CONTROL` of one model.
        learning_rates: tried with the first seed, for each model and budget; none to use the models' own.
        settings: `FIELD=VALUE` for all models, `NAME:FIELD=VALUE` for one.
        validations: about how many each run has; by seconds there is only the last one.
        jobs: processes at a time.
        listener: notified of progress.

    Returns:
        What results.json says.

    Raises:
        ValueError: if an argument is wrong, a spec does not fit the task, or the folder holds a comparison
            with other arguments.
        RunError: if something cannot be written, or another process works on the comparison.
    """
    check_matplotlib()
    folder = Path(out)
    plan, task_built = _plan(
        folder, specs, task, match, budgets, seeds, controls, learning_rates, settings, validations, jobs
    )
    with guard(folder, "give another --out"):
        (folder / RUNS).mkdir(parents=True, exist_ok=True)
    with locked(folder):
        remove_leftovers(folder)
        write_plan(folder / PLAN, plan)
        progress = Progress(plan)
        found = _Loop(folder, progress, listener, task_built, jobs).run()
        write_pages(folder, found)
    return found


def _plan(
    folder: Path,
    specs: Sequence[Source] | Mapping[str, Source],
    task: str | None,
    match: Match,
    budgets: Sequence[float],
    seeds: int,
    controls: Sequence[str],
    learning_rates: Sequence[float],
    settings: Sequence[str],
    validations: int,
    jobs: int,
) -> tuple[Plan, Task]:
    """The plan of a comparison, checked against an older one of its folder; and its data."""
    for name, number in (("seeds", seeds), ("validations", validations), ("jobs", jobs)):
        if number < 1:
            raise ValueError(f"{name}={number} must be at least 1")
    check_budgets(match, budgets)
    if any(not rate > 0 for rate in learning_rates):
        raise ValueError(f"learning_rates: {min(learning_rates):g} must be positive")
    entrants = read_entrants(specs, task, settings)
    entrants += control_entrants(entrants, controls)
    first = entrants[0].spec()
    built = first.task.build()
    steps = {entrant.name: FirstStep(None) for entrant in entrants}
    for entrant in entrants:
        steps[entrant.name] = first_step(entrant.name, entrant.spec(), built)
        check_step(entrant.name, match, budgets, steps[entrant.name])
    plan = Plan(
        match=match,
        budgets=sorted(budgets),
        seeds=[first.seed + i for i in range(seeds)],
        learning_rates=list(learning_rates),
        validations=validations,
        lengths=sampled_lengths(first, built),
        models=[PlannedModel.of_entrant(entrant, steps[entrant.name]) for entrant in entrants],
    )
    older = read_plan(folder / PLAN)
    if older is not None:
        check_grown(folder, older, plan)
    return plan, built


class _Loop:
    """Starts what can be started until every run is finished or has failed."""

    def __init__(self, folder: Path, progress: Progress, listener: Listener, task: Task, jobs: int) -> None:
        self.folder = folder
        self.progress = progress
        self.listener = listener
        self.task = task
        self.jobs = progress.jobs = Jobs(jobs)
        self.cells = {cell.name: cell for cell in progress.plan.cells()}

    def run(self) -> Comparison:
        """Train what is missing; what results.json says in the end."""
        for cell in self.cells.values():
            self._take(cell)
        self._write()
        with self.jobs:
            while self._start() or self.jobs.running:
                self.listener(self.progress, None)
                time.sleep(POLL)
                for job in self.jobs.ended():
                    cell = self.cells[job.name]
                    if not self._take(cell):
                        self._fail(cell, job.reason)
                    self._write()
            return self._write()

    def _take(self, cell: Cell) -> bool:
        """Take in what a run has measured, if it is finished."""
        run = Run(self.folder / RUNS / cell.name)
        if not (run.path / "spec.yaml").exists() or finished(run) is None:
            return False
        record = run_record(run, cell.model, cell.budget)
        self.progress.done[cell] = record
        self.listener(self.progress, f"{cell.name}: {record.quality:.4f} after {record.steps:,} steps")
        return True

    def _start(self) -> bool:
        """Start as many runs as there is room for; whether there is more to do."""
        plan, done, failed = self.progress.plan, self.progress.done, self.progress.failed
        waiting = False
        for cell in plan.wanted(done, failed):
            if cell in done or cell in failed or cell.name in self.jobs.running:
                continue
            if plan.waits_forever(cell, done, failed):
                self._fail(cell, "the run that it depends on failed")
                continue
            waiting = True
            if not self.jobs.has_room:
                break
            path = self.folder / RUNS / cell.name
            if not (path / "spec.yaml").exists():
                try:
                    spec = plan.spec(cell, done, failed)
                except ValueError as error:  # such as no width for what routing spent
                    self._fail(cell, str(error))
                    continue
                if spec is None:
                    continue
                Run.create(spec, path.parent, cell.name)
            self.jobs.start(cell.name, path)
        return waiting

    def _fail(self, cell: Cell, reason: str) -> None:
        self.progress.failed[cell] = reason
        self.listener(self.progress, f"{cell.name}: {reason}")

    def _write(self) -> Comparison:
        plan, done, failed = self.progress.plan, self.progress.done, self.progress.failed
        runs, missing = [], []
        wanted = set(plan.wanted(done, failed))
        for cell in plan.cells():
            if cell in done:
                chosen = plan.chosen(cell.model, cell.budget, cell.seed, done, failed)
                runs.append(done[cell].model_copy(update={"chosen": cell == chosen}))
            elif cell in wanted:
                reason = failed.get(cell, "not finished yet")
                missing.append(Missing(model=cell.model, budget=cell.budget, seed=cell.seed, reason=reason))
        comparison = Comparison(
            task=self.task.title,
            unit=self.task.unit,
            headline=self.task.headline,
            match=plan.match,
            budgets=plan.budgets,
            seeds=plan.seeds,
            models=[
                ModelRecord(name=model.name, source=model.source, control=model.control, of=model.of)
                for model in plan.models
            ],
            runs=runs,
            missing=missing,
            data={name: str(value) for name, value in self.task.facts.items()},
            **self._surroundings(),
        )
        with guard(self.folder, "free some space, then give the same command again"):
            write_comparison(self.folder, comparison)
        return comparison

    def _surroundings(self) -> dict[str, dict[str, str]]:
        for cell in reversed(list(self.progress.done)):
            facts = Run(self.folder / RUNS / cell.name).facts()
            if facts is None:
                raise RunError(
                    f"{self.folder / RUNS / cell.name} lacks facts.json; remove the folder, and go on"
                )
            return {"versions": facts.versions, "machine": facts.machine}  # type: ignore[dict-item]
        return {"versions": {}, "machine": {}}
