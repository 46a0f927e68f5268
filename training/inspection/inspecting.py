"""`inspect()`: what the routers of a run decide, and what their decisions are worth."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sma.checks import check_size
from sma.training import results
from sma.training.inspection.counterfactuals import choose, flip, worth
from sma.training.inspection.decisions import (
    count_rows,
    pick_rows,
    read_decisions,
    spread,
    target_bits,
)
from sma.training.inspection.findings import SHOWN, Example, Inspection, agreements
from sma.training.inspection.rates import by_loss, by_position, by_role, over_training
from sma.training.inspection.spans import spans
from sma.training.inspection.stability import stability
from sma.training.run.folder import Run
from sma.training.tasks.running import evaluating
from sma.training.tasks.task import Batch, Split, Task

N_EXAMPLES = 8


def inspect(
    runs: str | Path | Sequence[str | Path],
    *,
    split: Split = "test",
    weights: str = "best",
    n_rows: int = 64,
    examples: Sequence[int] | None = None,
    n_flips: int = 16,
    seed: int = 0,
) -> Inspection:
    """Measure the decisions of a trained model.

    Rates, spans and agreement with known needs are of `n_rows` rows, evenly spaced over a split. Decisions
    about the examples are flipped one by one, see `counterfactuals.flip`.

    Args:
        runs: the folder of a run; or several, of one model and task, whose decisions are compared.
        split: whose rows are read: test or validation.
        weights: best or last.
        n_rows: rows that rates are measured on.
        examples: numbers of rows in the split that are shown, and whose decisions are flipped. None: 8,
            evenly spaced.
        n_flips: decisions of each routed module that are flipped in each example, half of them active ones.
        seed: of the choice of flips, and of intervals.

    Raises:
        ValueError: if a folder is not a run, a model has no routers, runs differ in model or task, an example
            does not exist, or the task's batches are not rows.
        RunError: if a run has no weights yet, or its files are damaged.
    """
    check_size("n_rows", n_rows)
    check_size("n_flips", n_flips)
    opened = [Run.open(path) for path in ([runs] if isinstance(runs, str | Path) else runs)]
    if not opened:
        raise ValueError("there is nothing to inspect: name the folder of at least one run")
    spec = opened[0].spec()
    for other in opened[1:]:
        _check_alike(opened[0], other)
    task = spec.task.build()
    for run in opened:
        results.check_data(run, task)
    n_all = count_rows(task, split, spec.batch_size)
    shown = spread(N_EXAMPLES, n_all) if examples is None else list(dict.fromkeys(examples))
    for number in shown:
        if not 0 <= number < n_all:
            raise ValueError(
                f"example {number}, but the {split} split of {task.title} has {n_all:,} rows; choose from 0 "
                f"to {n_all - 1}"
            )
    rows = pick_rows(task, split, spec.batch_size, spread(n_rows, n_all))
    models = [_model(run, weights) for run in opened]
    read = [read_decisions(model, rows) for model in models]
    found = _examples(
        models[0], task, sorted(shown), pick_rows(task, split, spec.batch_size, shown), n_flips, seed
    )
    first = read[0]
    return Inspection(
        runs=[str(run.path) for run in opened],
        task=task.title,
        split=split,
        unit=task.unit,
        n_rows=first.n_rows,
        n_elements=len(first),
        columns=first.columns,
        rates=first.active.float().mean(0).tolist(),
        training=over_training(opened[0], first.columns),
        positions=by_position(first),
        roles=by_role(first, task.role_names),
        losses=by_loss(first),
        spans=spans(first),
        needs=agreements(first),
        stability=stability(read),
        worth=worth(first.columns, [example.flips for example in found], seed=seed),
        role_names=list(task.role_names),
        classes=list(task.classes),
        line=task.columns,
        examples=found,
    )


def _check_alike(first: Run, other: Run) -> None:
    """See that two runs differ in nothing that would make their decisions those of different models."""
    for field in ("model", "task"):
        if getattr(first.spec(), field) != getattr(other.spec(), field):
            raise ValueError(
                f"{first.path} and {other.path} differ in their {field}, so their decisions cannot be "
                "compared element by element; name runs that differ in their seed"
            )


def _model(run: Run, weights: str) -> nn.Module:
    return results.best_model(run) if weights == "best" else results.last_model(run, run.spec().model)


def _examples(
    model: nn.Module, task: Task, numbers: Sequence[int], rows: Sequence[Batch], n_flips: int, seed: int
) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number, row in zip(numbers, rows, strict=True):
        read = read_decisions(model, [row])
        chosen = choose(read.active[:SHOWN], n_flips, generator)
        flips = flip(model, row, read.columns, read.active, read.confidence, chosen)
        answer, bits = _answer(model, row)
        found.append(Example.of(number, task, row, read, flips, answer, bits))
    return found


@torch.no_grad()
def _answer(model: nn.Module, row: Batch) -> tuple[int | None, float]:
    """The class that a model answers about a row with one target, and the loss of any row in bits."""
    with evaluating(model):
        scores: Tensor = row.to(next(model.parameters())).scores(model).cpu()
    bits = float(target_bits(scores, row.targets).nan_to_num().sum())
    return (int(scores[0].argmax()) if row.targets.dim() == 1 else None), bits
