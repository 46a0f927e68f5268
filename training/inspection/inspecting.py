"""`inspect()`: what the routers of a model decide, and what their decisions are worth."""

from collections.abc import Sequence
from pathlib import Path

import torch

from sma.checks import check_size
from sma.training.inspection.counterfactuals import choose, flip, worth
from sma.training.inspection.decisions import Decisions, read_decisions, spread
from sma.training.inspection.findings import SHOWN, Example, Inspection, agreements
from sma.training.inspection.rates import by_loss, by_position, by_role
from sma.training.inspection.reader import Reader
from sma.training.inspection.run_subjects import run_subjects
from sma.training.inspection.spans import spans
from sma.training.inspection.stability import stability
from sma.training.inspection.subject import Subject
from sma.training.sparsification.sparsified_folder import is_sparsified
from sma.training.tasks.running import evaluating
from sma.training.tasks.task import Batch, Split

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
    """Measure the decisions of a trained model, or of a pretrained one that was made sparse.

    Rates, spans and agreement with known needs are of `n_rows` rows, evenly spaced over a split. Decisions
    about the examples are flipped one by one, see `counterfactuals.flip`.

    Args:
        runs: the folder of a run, or what `sma sparsify` wrote; or several, of one model and data, whose
            decisions are compared.
        split: whose rows are read: test or validation. What `sma sparsify` holds out is test alone.
        weights: best or last; of a run.
        n_rows: rows that rates are measured on.
        examples: numbers of rows in the split that are shown, and whose decisions are flipped. None: 8,
            evenly spaced.
        n_flips: decisions of each routed module that are flipped in each example, half of them active ones.
        seed: of the choice of flips, and of intervals.

    Raises:
        ValueError: if a folder is neither, a model has no routers, models or data differ, data have changed,
            an example does not exist, or the task's batches are not rows.
        RunError: if a run has no weights yet, or files of a folder are damaged.
    """
    check_size("n_rows", n_rows)
    check_size("n_flips", n_flips)
    paths = [Path(path) for path in ([runs] if isinstance(runs, str | Path) else runs)]
    if not paths:
        raise ValueError("there is nothing to inspect: name the folder of at least one run")
    subjects = _subjects(paths, split, weights)
    first = subjects[0]
    shown = spread(N_EXAMPLES, first.n_rows) if examples is None else list(dict.fromkeys(examples))
    for number in shown:
        if not 0 <= number < first.n_rows:
            raise ValueError(
                f"example {number}, but the {split} split of {first.title} has {first.n_rows:,} rows; choose "
                f"from 0 to {first.n_rows - 1}"
            )
    rows = first.pick(spread(n_rows, first.n_rows))
    read = [read_decisions(subject.reader, rows) for subject in subjects]
    found = _examples(first, sorted(shown), n_flips, seed)
    return _inspection(subjects, read, found, seed)


def _subjects(paths: Sequence[Path], split: Split, weights: str) -> list[Subject]:
    """What folders hold, all of one kind."""
    sparsified = [is_sparsified(path) for path in paths]
    if not any(sparsified):
        return run_subjects(paths, split=split, weights=weights)
    from sma.training.inspection.sparsified_subjects import sparsified_subjects

    if not all(sparsified):
        other = paths[sparsified.index(False)]
        raise ValueError(
            f"{paths[sparsified.index(True)]} was written by sma sparsify and {other} was not, so their "
            "decisions cannot be compared; inspect each by itself"
        )
    if split != "test" or weights != "best":
        raise ValueError(
            f"split={split} and weights={weights} are of runs; {paths[0]}, which sma sparsify wrote, has one "
            "model and held-out rows alone: leave them out"
        )
    return sparsified_subjects(paths)


def _examples(subject: Subject, numbers: Sequence[int], n_flips: int, seed: int) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number, row in zip(numbers, subject.pick(numbers), strict=True):
        read = read_decisions(subject.reader, [row])
        chosen = choose(read.active[:SHOWN], n_flips, generator)
        flips = flip(subject.reader, row, read.columns, read.active, read.confidence, chosen)
        answer, loss = _answer(subject.reader, row)
        found.append(Example.of(number, subject, row, read, flips, answer, loss))
    return found


@torch.no_grad()
def _answer(reader: Reader, row: Batch) -> tuple[int | None, float]:
    """The class that a model answers about a row with one target, and the loss of any row."""
    with evaluating(reader.model):
        scores = reader.run(row.to(next(reader.model.parameters()))).cpu()
    loss = float(reader.loss.of(scores, row.targets).nan_to_num().sum())
    return (int(scores[0].argmax()) if row.targets.dim() == 1 else None), loss


def _inspection(
    subjects: Sequence[Subject], read: Sequence[Decisions], examples: list[Example], seed: int
) -> Inspection:
    subject, first = subjects[0], read[0]
    loss = subject.reader.loss
    return Inspection(
        runs=[str(each.path) for each in subjects],
        task=subject.title,
        split=subject.split,
        unit=subject.unit,
        loss_unit=loss.unit,
        loss_text=loss.text,
        loss_place=loss.place,
        made_active=subject.made_active,
        left_out=subject.left_out,
        n_rows=first.n_rows,
        n_elements=len(first),
        columns=first.columns,
        rates=first.active.float().mean(0).tolist(),
        training=subject.training(first.columns),
        positions=by_position(first),
        roles=by_role(first, subject.role_names),
        losses=by_loss(first, loss.unit),
        spans=spans(first),
        needs=agreements(first),
        stability=stability(read),
        worth=worth(first.columns, [example.flips for example in examples], seed=seed),
        role_names=list(subject.role_names),
        classes=list(subject.classes),
        line=subject.line,
        examples=examples,
    )
