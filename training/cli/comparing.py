"""The command that compares models at equal budgets."""

from pathlib import Path
from typing import Annotated

import typer

from sma.training.cli.options import ImportOption, SetOption, check_choice

_BUDGETS = {"operations": "1e12,3e12", "seconds": "60,300", "steps": "500,2000"}
"""Examples, by what is equal."""


def compare(
    specs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files of models or runs, preset:NAME,option=value, or ready; NAME=SPEC names one. "
            "None: show a folder's results anew.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the comparison.", show_default=False)] = ...,  # type: ignore[assignment]
    task: Annotated[str | None, typer.Option(help="See `sma tasks`; default: that of the specs.")] = None,
    match: Annotated[str, typer.Option(help="What is equal: operations, seconds or steps.")] = "operations",
    budget: Annotated[
        str | None, typer.Option(help="How much, such as 1e12,3e12: each has runs of its own.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many.")] = 3,
    controls: Annotated[
        str, typer.Option(help="Of models that route: always,never,random,window,wider; or NAME:CONTROL.")
    ] = "",
    learning_rates: Annotated[
        str, typer.Option(help="To try for each model, such as 3e-3,7e-3; default: its own.")
    ] = "",
    changes: SetOption = None,
    validations: Annotated[int, typer.Option(help="About how many each run has.")] = 4,
    jobs: Annotated[int, typer.Option(help="Runs at a time.")] = 1,
    modules: ImportOption = None,
) -> None:
    """Train models until the same budget is spent, and compare what they reached.

    Killed at any point, the same command goes on; finished runs are never repeated. --set NAME:FIELD=VALUE
    changes one model alone.
    """
    from sma.training.cli.display import output
    from sma.training.comparison.compare import compare as run_comparison
    from sma.training.comparison.comparison_page import write_pages
    from sma.training.comparison.measurements import read_comparison
    from sma.training.comparison.progress import Table, show

    console = output()
    if not specs:
        if budget is not None or task is not None:
            raise ValueError(
                "specs: none is given; name at least one, or give --out alone to show its results anew"
            )
        found = read_comparison(out)
        write_pages(out, found)
        show(console, out, found)
        return
    check_choice("--match", match, ("operations", "seconds", "steps"))
    if budget is None:
        raise ValueError(
            f"budget is not given; give the {match} of each run, such as --budget {_BUDGETS[match]}"
        )
    with Table(console) as table:
        found = run_comparison(
            specs,
            out=out,
            budgets=_numbers("--budget", budget, _BUDGETS[match]),
            match=match,  # type: ignore[arg-type]
            task=task,
            seeds=seeds,
            controls=[name for name in controls.split(",") if name],
            learning_rates=_numbers("--learning-rates", learning_rates, "3e-3,7e-3"),
            settings=changes or [],
            validations=validations,
            jobs=jobs,
            listener=table.update,
        )
    show(console, out, found)
    if found.missing:
        raise typer.Exit(1)


def _numbers(option: str, text: str, example: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part]
    except ValueError:
        raise ValueError(f"{option} {text!r} is not a list of numbers; write such as {example}") from None
