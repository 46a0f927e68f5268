"""The `sma` command. torch is imported inside the commands, so that help is quick."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import sma

if TYPE_CHECKING:
    from sma.training.config import TrainSpec

app = typer.Typer(
    name="sma",
    help="Train and inspect sequence models with Sparse Modular Activation.",
    epilog="Exit codes: 0 done, 1 failed (or `diff` found a difference), 2 wrong input, 130 Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_options: dict[str, bool] = {"traceback": False}

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change any field, such as model.d_model=96. Repeatable.",
        show_default=False,
    ),
]

OutOption = Annotated[
    Path | None, typer.Option("--out", help="A new file to write; default: print.", show_default=False)
]

_format_warning = warnings.formatwarning


def main() -> None:
    """Run the command line."""
    warnings.formatwarning = _warning_line
    # Read when torch is loaded. By default a waiting thread spins for so long that a step beside other
    # programs takes up to forty times as long; with fewer spins it sleeps, and a step alone takes no longer.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    app()


def _warning_line(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> str:
    """One line about a broken package; warnings of other libraries as Python writes them."""
    if category.__name__ == "SpecWarning":  # whose module is slow to import
        return f"sma: warning: {message}\n"
    return _format_warning(message, category, *place, **line)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(sma.__version__)
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True),
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the code an error arose.")
    ] = False,
) -> None:
    _options["traceback"] = traceback


@app.command()
def train(
    spec: Annotated[Path | None, typer.Option(help="YAML file of a run, or of a model.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="python_source (default), text_files, digits, wordnet, karate, or one of another package."
        ),
    ] = None,
    changes: SetOption = None,
    steps: Annotated[int | None, typer.Option(help="Short for --set steps=N.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds. Short for --set time_limit=N.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Short for --set batch_size=N.")] = None,
    length: Annotated[int | None, typer.Option(help="Bytes per row. Short for --set task.length=N.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Short for --set learning_rate=X.")] = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set seed=N.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Short for --set threads=N.")] = None,
    out: Annotated[Path, typer.Option(help="Where the run's folder is made.")] = Path("runs"),
    name: Annotated[
        str | None, typer.Option(help="Name of that folder; default: the task and a number.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run exactly where it stopped.")
    ] = None,
) -> None:
    """Train a model, test it beside baselines, and write a report.

    Without options: a SeqBoat on the source of Python's standard library; six minutes on two idle cores.
    Ctrl-C stops after the current step, keeps the best weights and still writes the report.
    """
    short = {
        "task.kind": task,
        "steps": steps,
        "time_limit": time_limit,
        "batch_size": batch_size,
        "task.length": length,
        "learning_rate": learning_rate,
        "seed": seed,
        "threads": threads,
    }
    with short_errors():
        assignments = [(tuple(key.split(".")), value) for key, value in short.items() if value is not None]
        if resume is None:
            _train(_train_spec(spec, task, assignments, changes), out, name)
        elif spec is not None or task is not None or name is not None:
            raise ValueError("--resume goes on with a run as it is: leave out --spec, --task and --name")
        else:
            _resume(resume, assignments, changes)


@app.command()
def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    weights: Annotated[str, typer.Option(help="best or last.")] = "best",
    batch_size: Annotated[int | None, typer.Option(help="Rows at once; default: as in training.")] = None,
) -> None:
    """Score the weights of a run once more."""
    with short_errors():
        from sma.checks import check_size

        _choice("--split", split, ("test", "validation"))
        _choice("--weights", weights, ("best", "last"))
        from sma.training.cli import commands

        check_size("batch_size", batch_size, none="as in training")
        commands.evaluate(run, split=split, weights=weights, batch_size=batch_size)


@app.command()
def report(run: RunArgument) -> None:
    """Test a run's best weights and write its report anew."""
    with short_errors():
        from sma.training.cli import commands

        commands.report(run)


@app.command()
def describe(
    target: Annotated[
        str,
        typer.Argument(
            help="A YAML or JSON spec, a run's folder, or the name of a preset.", show_default=False
        ),
    ],
    changes: SetOption = None,
) -> None:
    """Show what a model consists of: parameters per part, and what an element costs."""
    with short_errors():
        from sma.training.cli import commands

        commands.describe(target, changes or [])


@app.command()
def schema(
    of: Annotated[str, typer.Argument(help="model, or training for whole runs.")] = "model",
    out: OutOption = None,
) -> None:
    """Print the JSON Schema of all installed kinds; editors complete and check YAML with it."""
    with short_errors():
        _choice("schema", of, ("model", "training"))
        import json

        from sma.training.cli import spec_commands

        spec_commands.write(json.dumps(spec_commands.schema(of), indent=2) + "\n", out)


@app.command()
def init(
    preset: Annotated[str, typer.Argument(help="Of a model or a run.", show_default=False)],
    changes: SetOption = None,
    out: OutOption = None,
) -> None:
    """Print a preset as YAML with every field written out."""
    with short_errors():
        from sma.training.cli import spec_commands

        spec_commands.write(spec_commands.init(preset, changes or []), out)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="A spec, a run's folder or a preset.", show_default=False)],
    second: Annotated[str, typer.Argument(help="Another.", show_default=False)],
) -> None:
    """Show in which fields two models differ; exit code 1 if they do."""
    with short_errors():
        from sma.training.cli import spec_commands

        if spec_commands.diff(first, second):
            raise typer.Exit(1)


@app.command()
def generate(
    run: RunArgument,
    prompt: Annotated[str, typer.Option(help="Text to go on from.")] = "",
    tokens: Annotated[int, typer.Option(min=1, help="The most bytes to make.")] = 400,
    temperature: Annotated[float, typer.Option(help="0: always the most probable byte.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Choose among the k most probable bytes.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Choose among bytes of this total probability.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choices.")] = 0,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            help="Text to end before. Repeatable; a line end is $'\\n' in most shells.", show_default=False
        ),
    ] = None,
) -> None:
    """Write text with a language model over bytes."""
    with short_errors():
        from sma.training.cli import commands

        commands.generate(
            run,
            prompt,
            n_tokens=tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stop=stop or [],
        )


@app.command("import")
def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="Such as checkpoint_best.pt.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)],
) -> None:
    """Make a model folder from a checkpoint of the published SeqBoat code.

    Code in the checkpoint is refused, never run.
    """
    with short_errors():
        from sma.architectures import save_model
        from sma.architectures.published.checkpoint import model_from_checkpoint

        if out.exists():
            raise ValueError(f"{out} exists already; name a new folder, or remove it")
        model = model_from_checkpoint(checkpoint)
        save_model(model, out)
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
        typer.echo(f"{out}: {n_parameters:,} parameters; see what they are with: sma describe {out}")


@contextmanager
def short_errors() -> Iterator[None]:
    """Say an error that a user can do something about in one line, and leave with its exit code."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if _options["traceback"] or isinstance(error, typer.Exit):
            raise
        from sma.training.run.errors import explain

        explained = explain(error)
        if explained is None:
            raise
        typer.echo(f"sma: {explained[0]}", err=True)
        raise typer.Exit(explained[1]) from None


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} {value}: use {' or '.join(allowed)}")


def _train_spec(
    path: Path | None,
    task: str | None,
    assignments: list[tuple[tuple[str, ...], Any]],
    changes: list[str] | None,
) -> "TrainSpec":
    from sma.architectures.files.yaml import read_yaml
    from sma.training.cli.overrides import apply_overrides, parse_assignment
    from sma.training.config import TrainSpec
    from sma.training.presets import run_values

    values = read_yaml(path) if path is not None else {}
    if "preset" in values or values.get("kind", "training") != "training":  # a model
        values = {**run_values(task or "python_source"), "model": values}
    elif path is None:
        values = run_values(task or "python_source")
    assignments = assignments + [parse_assignment(change) for change in changes or []]
    return TrainSpec.model_validate(apply_overrides(values, assignments))


def _train(spec: "TrainSpec", out: Path, name: str | None) -> None:
    from sma.training.cli import commands

    raise typer.Exit(commands.train(spec, out, name))


def _resume(path: Path, assignments: list[tuple[tuple[str, ...], Any]], changes: list[str] | None) -> None:
    from sma.training.cli import commands
    from sma.training.cli.overrides import apply_overrides, parse_assignment
    from sma.training.config import TrainSpec
    from sma.training.run.folder import Run

    run = Run.open(path)
    assignments = assignments + [parse_assignment(change) for change in changes or []]
    raise typer.Exit(
        commands.resume(run, TrainSpec.model_validate(apply_overrides(run.values(), assignments)))
    )


if __name__ == "__main__":
    main()
