"""The command that checks any model for the properties of this project."""

from pathlib import Path
from typing import Annotated

import typer

from sma.training.cli.options import ImportOption, check_new_file, write_lines


def check(
    target: Annotated[
        str,
        typer.Argument(
            help="A folder or an ID of transformers, my_module:build, what sma sparsify wrote, or a spec, a "
            "run, a model's folder or a preset of this project.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="Of transformers, such as AutoModelForCausalLM; default: as the configuration says.",
            show_default=False,
        ),
    ] = None,
    call: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="A function (model, x, mask) that calls the model and returns (B, L, K) or (B, K).",
            show_default=False,
        ),
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option(help="Of a model that reads tokens.", show_default=False)
    ] = None,
    d_model: Annotated[
        int | None, typer.Option(help="D of a model that reads (B, L, D).", show_default=False)
    ] = None,
    causal: Annotated[
        bool | None,
        typer.Option("--causal/--not-causal", help="Default: as the model says.", show_default=False),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Elements that it sees, or cuts rows into.", show_default=False)
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="NAME", help="Try only this one. Repeatable.", show_default=False),
    ] = None,
    examples: Annotated[int, typer.Option(help="Inputs per property.")] = 25,
    max_length: Annotated[int, typer.Option(help="Of the rows that are drawn.")] = 10,
    json: Annotated[
        Path | None, typer.Option(help="A new file for the report as JSON.", show_default=False)
    ] = None,
    confirmed: Annotated[bool, typer.Option("--run/--no-run", help="Run the programs of violations.")] = True,
    modules: ImportOption = None,
) -> None:
    """Check a model for padding, cache, batches, causality and more; exit code 1 if one fails.

    What fails is shrunk to the smallest input, and printed as a program that shows it without this project.
    It needs the extra `test`, and for models of transformers the extra `transformers`.
    """
    from sma.testing import check_model
    from sma.training.cli.display import output
    from sma.training.cli.targets import function, target_model

    if json is not None:
        check_new_file(json)
    found = target_model(target, kind)
    report = check_model(
        found.model,
        call=None if call is None else function(call),
        vocab_size=vocab_size,
        d_model=d_model,
        causal=causal,
        window=window,
        properties=properties or None,
        examples=examples,
        max_length=max_length,
        source=found.source,
        confirmed=confirmed,
    )
    output().print(report.text(), highlight=False, markup=False, soft_wrap=True)
    if json is not None:
        write_lines(report.json().splitlines(), json)
    if not report.ok:
        raise typer.Exit(1)
