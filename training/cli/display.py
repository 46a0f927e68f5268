"""What a run shows in the terminal."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typing_extensions import override

from sma.training.trainer import Observer, Trainer


class Display(Observer):
    """A progress bar with loss, speed and activation rates, and a line per validation.

    Where the output is no terminal, only the lines are written.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.percentage:>3.0f} %"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("of about"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._bar: TaskID | None = None

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    @override
    def on_start(self, trainer: Trainer) -> None:
        self.console.print(
            f"[bold]{trainer.task.title}[/], {trainer.n_parameters:,} parameters, on {trainer.device}"
        )
        if trainer.position.step:
            self.console.print(f"going on after step {trainer.position.step}")
        self._bar = self._progress.add_task("starting", total=1.0)
        self._progress.start()

    @override
    def on_step(self, trainer: Trainer, loss: float) -> None:
        if self._bar is not None:
            self._progress.update(self._bar, completed=trainer.progress)

    @override
    def on_row(self, trainer: Trainer, row: dict[str, Any]) -> None:
        if row["split"] == "training" and self._bar is not None:
            self._progress.update(self._bar, description=training_line(row, trainer))
        if row["split"] == "validation":
            self.console.print(validation_line(row, trainer), highlight=False)


def training_line(row: dict[str, Any], trainer: Trainer) -> str:
    """One line about the newest steps."""
    return (
        f"step {row['step']}  loss {row['loss']:.3f}  {row['bits']:.3f} bits/{trainer.task.unit}  "
        f"{row['elements_per_second']:,.0f} elements/s  active {rates(row['activation'])}"
    )


def validation_line(row: dict[str, Any], trainer: Trainer) -> str:
    """One line about a validation."""
    measure = (
        f"{row['bits']:.4f} bits per {trainer.task.unit}"
        if trainer.task.headline == "bits"
        else f"{100 * row['accuracy']:.2f} % correct"
    )
    best = "  best so far" if trainer.position.best_step == row["step"] else ""
    return f"step {row['step']:>6}  validation {measure}  active {rates(row['activation'])}{best}"


def rates(activation: dict[str, list[float]]) -> str:
    """Activation rates per layer in percent, as in `12 40 3 %`; several modules of a layer with commas."""
    if not activation:
        return "-"
    return " ".join(",".join(f"{100 * rate:.0f}" for rate in layer) for layer in activation.values()) + " %"
