"""Runs of the trainer as subjects of an inspection."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sma.training import results
from sma.training.inspection.decisions import count_rows, pick_rows
from sma.training.inspection.rates import over_training
from sma.training.inspection.reader import Reader
from sma.training.inspection.subject import Subject
from sma.training.run.folder import Run
from sma.training.sparsification.sparsified_folder import MODEL_FOLDER, REPORT
from sma.training.tasks.task import Split


def run_subjects(paths: Sequence[Path], *, split: Split, weights: str) -> list[Subject]:
    """The models of runs, with the rows of their task.

    Args:
        paths: their folders, one at least.
        split: whose rows are read.
        weights: best or last.

    Raises:
        ValueError: if a folder is not a run, runs differ in model or task, or the task's batches are not
            rows.
        RunError: if a run has no weights yet, or its files are damaged.
    """
    opened = [_open(path) for path in paths]
    spec = opened[0].spec()
    for other in opened[1:]:
        _check_alike(opened[0], other)
    task = spec.task.build()
    for run in opened:
        results.check_data(run, task)
    n_rows = count_rows(task, split, spec.batch_size)
    return [
        Subject(
            run.path,
            Reader(
                results.best_model(run) if weights == "best" else results.last_model(run, run.spec().model)
            ),
            title=task.title,
            split=split,
            unit=task.unit,
            n_rows=n_rows,
            pick=partial(pick_rows, task, split, spec.batch_size),
            element_texts=task.element_texts,
            role_names=task.role_names,
            classes=task.classes,
            line=task.columns,
            training=partial(over_training, run),
        )
        for run in opened
    ]


def _open(path: Path) -> Run:
    try:
        return Run.open(path)
    except ValueError as error:
        raise ValueError(
            f"{error}; nor did sma sparsify write it (it has no {REPORT} beside a folder {MODEL_FOLDER})"
        ) from None


def _check_alike(first: Run, other: Run) -> None:
    """See that two runs differ in nothing that would make their decisions those of different models."""
    for field in ("model", "task"):
        if getattr(first.spec(), field) != getattr(other.spec(), field):
            raise ValueError(
                f"{first.path} and {other.path} differ in their {field}, so their decisions cannot be "
                "compared element by element; name runs that differ in their seed"
            )
