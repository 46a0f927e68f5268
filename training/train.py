"""A whole run: read the data, train, test, report."""

from collections.abc import Sequence
from pathlib import Path

from sma.training.config import TrainSpec
from sma.training.figures import check_matplotlib
from sma.training.interrupts import Terminated
from sma.training.parallel.contract import Parallel
from sma.training.parallel.joining import started
from sma.training.report.page import write_report
from sma.training.results import check_data, write_facts, write_results
from sma.training.run.checkpoints import check_spec
from sma.training.run.folder import Run
from sma.training.run.records import Ending
from sma.training.run.silent import create_together, follow
from sma.training.trainer import Observer, Trainer


def train(
    spec: TrainSpec,
    *,
    root: str | Path = "runs",
    name: str | None = None,
    observer: Observer | None = None,
    command: Sequence[str] = ("sma.training.train(...)",),
) -> tuple[Run, Ending]:
    """Train from the start in a new folder.

    Several processes that torchrun started train one run together; the first one writes it. If they are
    started anew, as after the end of one of them, they go on with the run from its newest checkpoint.

    Args:
        spec: what to do.
        root: where the run's folder is made.
        name: of that folder; None: the task's kind and a number. An existing folder is never touched.
        observer: notified of progress.
        command: recorded, so that the run can be repeated.

    Returns:
        The run's folder and how it ended.

    Raises:
        ValueError: if the data, the model or the name does not do, or a package is missing.
        RunError: if the run cannot continue; the message says what is kept.
    """
    check_matplotlib()
    with started(spec.parallel, device=spec.device) as parallel:
        if (begun := _begun(parallel, Path(root), name)) is not None:
            run = follow(parallel, begun)
            return run, _resume(run, spec, parallel, observer, command)
        with parallel.in_turn():
            task = spec.task.build()
        trainer = Trainer(spec, task, observer=observer, parallel=parallel)
        run = create_together(parallel, lambda: Run.create(spec, root, name))
        with run.lock():
            return run, _go(run, trainer, command)


def _begun(parallel: Parallel, root: Path, name: str | None) -> Run | None:
    """The run that these processes trained before they were started anew."""
    if parallel.attempt == 0:
        return None
    if (kept := parallel.kept) is not None:
        return Run.open(kept)
    return Run.open(root / name) if name is not None and (root / name / "spec.yaml").exists() else None


def resume(
    run: Run,
    spec: TrainSpec,
    *,
    observer: Observer | None = None,
    command: Sequence[str] = ("resume(...)",),
    report: bool = True,
) -> Ending:
    """Go on with a run exactly where its newest checkpoint stands, or from the start before there is one.

    Args:
        run: its folder.
        spec: that of the run; its steps, operations and fields without influence on a step may differ,
            and are written to the run's spec.yaml then. With another number of them the schedule is that of
            a run of so many.
        observer: notified of progress.
        command: recorded.
        report: whether baselines and a report follow the test.

    Raises:
        ValueError: if the spec is another one, or the data are others.
        RunError: if another process trains the run, or its checkpoint is missing, damaged or incomplete.
    """
    if report:
        check_matplotlib()
    with started(spec.parallel, device=spec.device) as parallel:
        return _resume(follow(parallel, run), spec, parallel, observer, command, report=report)


def _resume(
    run: Run,
    spec: TrainSpec,
    parallel: Parallel,
    observer: Observer | None,
    command: Sequence[str],
    *,
    report: bool = True,
) -> Ending:
    with run.lock():
        has_started = run.has_started
        with parallel.in_turn():
            task = spec.task.build()
        if has_started:
            check_data(run, task)
        else:
            check_spec(run, spec, run.spec())
        trainer = Trainer(spec, task, observer=observer, parallel=parallel, from_weights=not has_started)
        if has_started:
            trainer.resume(run)
        if spec != run.spec():
            run.write_spec(spec)
        return _go(run, trainer, command, report=report)


def _go(run: Run, trainer: Trainer, command: Sequence[str], *, report: bool = True) -> Ending:
    write_facts(run, trainer, command)
    ending = trainer.fit(run)
    if ending == "terminated":
        return ending
    try:
        with trainer.parallel.terminable():
            model, test = write_results(
                run,
                trainer.spec,
                trainer.task,
                trainer.position,
                ending,
                trainer.parallel,
                baselines=report,
            )
            if run.writes and report:
                write_report(run, model, trainer.task.sections(model, test))
    except Terminated:
        return "terminated"
    return ending
