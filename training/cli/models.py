"""The commands on models and their specs: describe, schema, init, diff, import."""

import json
from pathlib import Path
from typing import Annotated, cast

import typer

from sma.training.cli.options import ImportOption, OutOption, SetOption, check_choice, write_lines


def describe(
    target: Annotated[
        str,
        typer.Argument(
            help="A YAML or JSON spec, a run's folder, or the name of a preset.", show_default=False
        ),
    ],
    changes: SetOption = None,
    modules: ImportOption = None,
) -> None:
    """Show what a model consists of: parameters per part, and what an element costs."""
    from sma.architectures.models.sequence import SequenceModelSpec
    from sma.architectures.presets.seqboat_published import PUBLISHED_PARAMETERS
    from sma.architectures.published.load import parameters_published
    from sma.training.cli.display import output
    from sma.training.report import description
    from sma.training.report.picture import parts_table, picture
    from sma.training.settings.specs import measured_rates, model_spec

    spec = model_spec(target, changes or [])
    model = spec.build()
    parts = description.describe(model)
    console = output()
    console.print(picture(spec))
    rates = {} if changes else measured_rates(Path(target))
    table = parts_table(target, parts, description.totals(model, parts, rates), console.width)
    if target in PUBLISHED_PARAMETERS and not changes:
        reason = parameters_published(cast(SequenceModelSpec, spec)).reason
        table.add_row("published", "", f"{PUBLISHED_PARAMETERS[target]:,}", "")
        table.caption = f"{table.caption} Published: {reason or 'the same parameters'}."
    console.print(table)


def schema(
    of: Annotated[str, typer.Argument(help="model, or training for whole runs.")] = "model",
    out: OutOption = None,
    modules: ImportOption = None,
) -> None:
    """Print the JSON Schema of all installed kinds; editors complete and check YAML with it."""
    from sma.training.settings.specs import spec_schema

    check_choice("schema", of, ("model", "training"))
    write_lines(json.dumps(spec_schema(of), indent=2).splitlines(), out)


def init(
    preset: Annotated[str, typer.Argument(help="Of a model or a run.", show_default=False)],
    changes: SetOption = None,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="The published run of that model instead of the model.")
    ] = False,
    out: OutOption = None,
    modules: ImportOption = None,
) -> None:
    """Print a preset as YAML with every field written out."""
    from sma.architectures import dump_spec
    from sma.training.settings.overrides import parse_assignment
    from sma.training.settings.specs import preset_spec, recipe_spec

    assignments = list(map(parse_assignment, changes or []))
    spec = recipe_spec(preset, None, assignments) if recipe else preset_spec(preset, changes or [])
    write_lines(dump_spec(spec).splitlines(), out)


def diff(
    first: Annotated[str, typer.Argument(help="A spec, a run's folder or a preset.", show_default=False)],
    second: Annotated[str, typer.Argument(help="Another.", show_default=False)],
    modules: ImportOption = None,
) -> None:
    """Show in which fields two models differ; exit code 1 if they do."""
    from sma.training.cli.display import differences_table, output
    from sma.training.differences import differences
    from sma.training.settings.specs import model_spec

    left, right = (model_spec(target, []).model_dump(mode="json") for target in (first, second))
    found = list(differences(left, right))
    output().print(differences_table(first, second, found) if found else "the same model")
    if found:
        raise typer.Exit(1)


def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="Such as checkpoint_best.pt.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)],
) -> None:
    """Make a model folder from a checkpoint of the published SeqBoat code.

    Code in the checkpoint is refused, never run.
    """
    from sma.architectures import save_model
    from sma.architectures.published.checkpoint import model_from_checkpoint

    if out.exists():
        raise ValueError(f"{out} exists already; name a new folder, or remove it")
    model = model_from_checkpoint(checkpoint)
    save_model(model, out)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    typer.echo(f"{out}: {n_parameters:,} parameters; see what they are with: sma describe {out}")
