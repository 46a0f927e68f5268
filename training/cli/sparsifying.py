"""The command that makes a pretrained model sparse."""

from pathlib import Path
from typing import Annotated

import typer

from sma.training.cli.options import SetOption, field_assignments

_OWN = ("controls", "batch_size", "length", "rows", "seed")
"""Options that are not short for a field."""


def sparsify(
    model: Annotated[
        str, typer.Argument(help="Folder of a model of transformers, or its name.", show_default=False)
    ],
    data: Annotated[
        list[Path],
        typer.Option(help="A text file; its last tenth is held out. Repeatable.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    changes: SetOption = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Share of the parts' operations that is computed in the end. Short for --set rate=X."
        ),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            help="feed_forward, attention or both, with a comma, or layer. Short for --set parts=[X]."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="The model's own: trained, frozen or lora. Short for --set weights=NAME."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of the distillation. Short for --set steps=N.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the model's own weights. Short for --set learning_rate=X.")
    ] = None,
    controls: Annotated[str, typer.Option(help="Beside it: random,dropped.")] = "random,dropped",
    batch_size: Annotated[int, typer.Option(help="Rows of a batch.")] = 8,
    length: Annotated[int, typer.Option(help="Tokens of a row at most.")] = 128,
    rows: Annotated[int, typer.Option(help="Held-out rows that are measured on.")] = 64,
    seed: Annotated[int, typer.Option(help="Of batches and random skipping.")] = 0,
) -> None:
    """Let the tokens of a pretrained model skip parts of it, and report what that costs and saves.

    It is distilled from itself; the controls skip at random at the same rates, or lack parts for good at the
    same operations. Ctrl-C and SIGTERM leave a checkpoint after the current step, and the same command goes
    on from it. It needs the extra `transformers`.

    --set takes the fields of `SparsifySpec`, such as router.kind, only or skipped, and those of
    `Distillation`, such as router_learning_rate, lora_rank or task.
    """
    from sma.training.cli.display import output
    from sma.training.sparsification.distillation import DistillationStep
    from sma.training.sparsification.sparsified_folder import MODEL_FOLDER
    from sma.training.sparsification.sparsify_run import sparsify_model
    from sma.training.sparsification.sparsify_settings import sparsify_settings

    short = {
        "rate": rate,
        "parts": None if parts is None else parts.split(","),
        "weights": weights,
        "steps": steps,
        "learning_rate": learning_rate,
    }
    assignments = field_assignments(short, changes or [])
    for (name, *_), _ in assignments:
        if name in _OWN:
            raise ValueError(f"{name} is not a field of --set; give --{name.replace('_', '-')}")
    spec, settings = sparsify_settings(assignments)
    console = output()

    def show(name: str, step: DistillationStep) -> None:
        if step.step in (1, settings.steps) or step.step % max(1, settings.steps // 10) == 0:
            mean = sum(step.rates.values()) / len(step.rates)
            losses = ", ".join(f"{loss} {value:.4f}" for loss, value in step.losses.items())
            console.print(f"{name}, step {step.step}: {losses}, computed {100 * mean:.0f} %")

    report = sparsify_model(
        model,
        data,
        out,
        spec=spec,
        settings=settings,
        controls=[name for name in controls.split(",") if name],
        batch_size=batch_size,
        length=length,
        n_held_out=rows,
        seed=seed,
        listener=show,
    )
    heads, lines = report.table()
    for line in (heads, *lines):
        console.print("  ".join(line))
    for note in report.notes():
        console.print(note, highlight=False, soft_wrap=True)
    console.print(
        f"{out / MODEL_FOLDER}: the model; {out / 'report.html'}: the report; see what is skipped with: "
        f"sma inspect {out}"
    )
