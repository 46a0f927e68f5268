"""The commands that use the weights of a run on data: evaluate, predict and inspect."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sma.training.cli.options import ImportOption, OutOption, RunArgument, SetOption, check_choice

if TYPE_CHECKING:
    from torch import nn

    from sma.training.config import TrainSpec
    from sma.training.run.folder import Run

WeightsOption = Annotated[str, typer.Option(help="best or last.")]
BatchSizeOption = Annotated[int | None, typer.Option(help="Rows at once; default: as in training.")]


def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    weights: WeightsOption = "best",
    batch_size: BatchSizeOption = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Score a file of other data instead, with labels.")
    ] = None,
    changes: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    modules: ImportOption = None,
) -> None:
    """Score the weights of a run once more, also on other data.

    --set changes fields of the task, such as task.folder: a split of those data is scored then.
    """
    from sma.checks import check_size
    from sma.training import evaluation, results
    from sma.training.cli.display import output, score_table
    from sma.training.config import TrainSpec
    from sma.training.settings.overrides import apply_overrides, parse_assignment
    from sma.training.tasks.task import Split

    check_choice("--split", split, ("test", "validation"))
    check_size("batch_size", batch_size, none="as in training")
    if data is not None and split != "test":
        raise ValueError("--data FILE is scored as a whole; leave out --split")
    assignments = [parse_assignment(change) for change in changes or []]
    if any(path[0] != "task" for path, _ in assignments):
        raise ValueError("--set changes fields of the task here, such as task.folder=FOLDER")
    opened, spec, model = _open(run, weights)
    if assignments:
        task = TrainSpec.model_validate(apply_overrides(opened.values(), assignments)).task.build()
    else:
        task = spec.task.build()
        results.check_data(opened, task)
    task = task if data is None else task.on_file(data)
    found = evaluation.evaluate(model, task, cast(Split, split), batch_size=batch_size or spec.batch_size)
    if as_json:
        about = {"run": str(run), "weights": weights, "data": str(data or task.title), "split": split}
        scores = {"unit": task.unit, "headline": task.headline, "bits": found.bits, **asdict(found)}
        typer.echo(json.dumps({**about, **scores}))
        return
    where = f"the {split} split" if data is None else str(data)
    output().print(score_table(f"{run}: {weights} weights on {where}", found, task.unit))


def predict(
    run: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows without labels.", show_default=False)],
    weights: WeightsOption = "best",
    batch_size: BatchSizeOption = None,
    out: OutOption = None,
    modules: ImportOption = None,
) -> None:
    """Write a prediction for each row of a file, as JSON Lines in the order of the rows.

    Classification: the class and the probability of every class. Language models: the bits of each line, or
    of each row of a table, and the most probable next token.
    """
    from sma.checks import check_size
    from sma.training.cli.options import write_lines

    check_size("batch_size", batch_size, none="as in training")
    _, spec, model = _open(run, weights)
    found = spec.task.build().predictions(model, file, batch_size or spec.batch_size)
    write_lines((json.dumps(row) for row in found), out)


def inspect(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folder of a run, or what `sma sparsify` wrote; or several that differ in their seed, whose "
            "decisions are compared.",
            show_default=False,
        ),
    ],
    split: Annotated[str, typer.Option(help="Of a run: test or validation.")] = "test",
    weights: WeightsOption = "best",
    rows: Annotated[int, typer.Option(min=1, help="Rows that rates are measured on.")] = 64,
    examples: Annotated[
        list[int] | None,
        typer.Option("--example", help="Number of a row to show. Repeatable; default: 8, evenly spaced."),
    ] = None,
    flips: Annotated[int, typer.Option(min=1, help="Decisions to flip per layer and example.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the choice of decisions.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page; default: inspection.html in RUN.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, and write no page.")
    ] = False,
    modules: ImportOption = None,
) -> None:
    """Measure what the routers of a trained model decide, and what single decisions are worth.

    Activation over training, by position, kind of element and loss; attention spans; agreement with known
    needs and between seeds; and counterfactuals: decisions are flipped one by one, and the loss is measured
    again. The page shows all of it, and lets a reader pick a layer and an example. Of a sparsified model,
    what it cannot have is left out.
    """
    from sma.training.cli.display import output, worth_table
    from sma.training.inspection.inspecting import inspect
    from sma.training.inspection.inspection_page import write_page
    from sma.training.run.folder import check_writable
    from sma.training.tasks.task import Split

    check_choice("--split", split, ("test", "validation"))
    check_choice("--weights", weights, ("best", "last"))
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}; name a file in a folder that exists")
    if out is not None and out.is_dir():
        raise ValueError(f"--out {out} is a folder; name a file")
    page = out or runs[0] / "inspection.html"
    if out is not None or (runs[0].is_dir() and not as_json):
        check_writable(page, "name another file by --out")
    found = inspect(
        runs,
        split=cast(Split, split),
        weights=weights,
        n_rows=rows,
        examples=examples,
        n_flips=flips,
        seed=seed,
    )
    if as_json:
        typer.echo(found.json())
        return
    console = output()
    console.print(worth_table(found.worth, found.rates, found.loss_unit))
    if found.left_out:
        console.print(found.left_out)
    written = write_page(found, page)
    console.print(f"page: {written}", highlight=False, soft_wrap=True)


def _open(run: Path, weights: str) -> "tuple[Run, TrainSpec, nn.Module]":
    """A run, its spec, and its model with the weights that an option names."""
    from sma.training import results
    from sma.training.run.folder import Run

    check_choice("--weights", weights, ("best", "last"))
    opened = Run.open(run)
    spec = opened.spec()
    model: Any = results.best_model(opened) if weights == "best" else results.last_model(opened, spec.model)
    return opened, spec, model
