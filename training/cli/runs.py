"""The commands on runs: train, report, generate."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sma.training.cli.options import ImportOption, RunArgument, SetOption, field_assignments

STOPPED = {"interrupted": (130, "stopped"), "terminated": (143, "stopped by SIGTERM, without a test")}
"""Exit codes, as shells give them for SIGINT and SIGTERM, and what is said, by the ending of a run."""


def train(
    spec: Annotated[Path | None, typer.Option(help="YAML file of a run, or of a model.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="python_source (default), digits, listops, news, ...: see `sma tasks`."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="A published run, such as seqboat_lra_listops, on its task or that of --task."),
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
    resumed: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run exactly where it stopped."),
    ] = None,
    modules: ImportOption = None,
) -> None:
    """Train a model, test it beside baselines, and write a report.

    Without options: a SeqBoat on the source of Python's standard library; minutes on two idle cores.
    Ctrl-C stops after the current step, keeps the best weights and still writes the report; SIGTERM only
    leaves a checkpoint. --resume goes on from either, or from the newest checkpoint of a run that was killed.
    """
    from sma.training import results
    from sma.training.cli.display import Display, output, show_results
    from sma.training.config import TrainSpec
    from sma.training.parallel.torchrun import is_main
    from sma.training.run.folder import Run
    from sma.training.settings.overrides import apply_overrides
    from sma.training.settings.specs import run_spec
    from sma.training.train import resume, train

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
    assignments = field_assignments(short, changes or [])
    if resumed is not None and any(given is not None for given in (spec, task, recipe, name)):
        raise ValueError(
            "--resume goes on with a run as it is: leave out --spec, --task, --recipe and --name"
        )
    console, command = output(), results.this_command()
    with Display(console) as display:
        if resumed is None:
            new = run_spec(spec, task, assignments, recipe)
            run, ending = train(new, root=out, name=name, observer=display, command=command)
        else:
            run = Run.open(resumed)
            same = run.spec()
            if assignments:
                same = TrainSpec.model_validate(apply_overrides(run.values(), assignments))
            ending = resume(run, same, observer=display, command=command)
    if ending != "terminated" and is_main():
        show_results(console, run)
    if ending in STOPPED:
        code, what = STOPPED[ending]
        console.print(f"{what}; go on with: {run.resume}", highlight=False, soft_wrap=True)
        raise typer.Exit(code)


def report(run: RunArgument, modules: ImportOption = None) -> None:
    """Test a run's best weights and write its report anew."""
    from sma.training import results
    from sma.training.report.page import write_report
    from sma.training.run.checkpoints import read_position
    from sma.training.run.folder import Run

    opened = Run.open(run)
    spec = opened.spec()
    task = spec.task.build()
    results.check_data(opened, task)
    position = read_position(opened)
    before = opened.results()
    ending = before.ending if before is not None else results.ending_at(spec, position)
    model, test = results.write_results(opened, spec, task, position, ending)
    typer.echo(write_report(opened, model, task.sections(model, test)))


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
    modules: ImportOption = None,
) -> None:
    """Write text with a language model over bytes."""
    from sma.architectures import load_model
    from sma.training import generation, results
    from sma.training.run.folder import Run

    model = load_model(run) if (run / "spec.json").is_file() else results.best_model(Run.open(run))
    text = generation.generate(
        model,
        prompt.encode(),
        n_tokens=tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop=[end.encode() for end in stop or []],
    )
    out = sys.stdout.buffer
    out.write(prompt.encode())
    for byte in text:
        out.write(bytes([byte]))
        out.flush()
    out.write(b"\n")
    out.flush()
