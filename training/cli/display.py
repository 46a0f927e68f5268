"""Output of the commands: the progress of a run, its results, scores, and differences of specs."""

import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table
from typing_extensions import override

from sma.training.inspection.counterfactuals import Worth
from sma.training.parallel.torchrun import is_main
from sma.training.report.formats import duration, measure
from sma.training.run.errors import RunError
from sma.training.run.folder import Run
from sma.training.tasks.task import Evaluation
from sma.training.trainer import Observer, Trainer

PIPE_WIDTH = 10_000


def output() -> Console:
    """The standard output. Lines wrap at the width of a terminal, and not at all in a pipe or file.

    Of several processes only the first one prints.
    """
    console = Console(quiet=not is_main())
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


class Display(Observer):
    """A progress bar with loss, speed and activation rates, and a line per validation.

    Where the output is not a terminal, only the lines are written.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.percentage:>3.0f} %", table_column=_whole()),
            BarColumn(bar_width=12, table_column=_whole()),
            TextColumn("{task.fields[remaining]} left", table_column=_whole()),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
            expand=True,
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
        self._bar = self._progress.add_task("starting", total=1.0, remaining="?")
        self._progress.start()

    @override
    def on_step(self, trainer: Trainer, loss: float) -> None:
        if self._bar is not None:
            self._progress.update(self._bar, completed=trainer.progress, remaining=remaining(trainer))

    @override
    def on_row(self, trainer: Trainer, row: dict[str, Any]) -> None:
        if row["split"] == "training" and self._bar is not None:
            self._progress.update(self._bar, description=training_line(row, trainer))
        if row["split"] == "validation":
            self.console.print(validation_line(row, trainer), highlight=False)

    @override
    def on_notice(self, trainer: Trainer, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)


def _whole() -> Column:
    """A column of the progress bar that a narrow terminal does not cut, as it does the text beside it."""
    return Column(no_wrap=True)


def remaining(trainer: Trainer) -> str:
    """How long the rest of a run takes at its mean pace so far."""
    done = trainer.progress
    return duration(trainer.position.elapsed * (1 - done) / done) if done else "?"


def training_line(row: dict[str, Any], trainer: Trainer) -> str:
    """One line about the newest steps."""
    return (
        f"step {row['step']}  {row['bits']:.3f} bits/{trainer.task.unit}  "
        f"active {rates(row['activation'])}  {row['elements_per_second']:,.0f} elements/s"
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


def show_results(console: Console, run: Run) -> None:
    """Print the test of a run beside its baselines, and where its report is."""
    found = run.results()
    if found is None:
        raise RunError(f"{run.path} lacks results.json; write it with: {run.resume}")
    ours = {"this model": found.value}
    table = Table(title=f"Test: {found.test.n_units:,} held-out {found.unit}s", title_justify="left")
    table.add_column("method")
    table.add_column("result", justify="right")
    values = {**found.baselines, **ours}
    for name in sorted(values, key=lambda name: values[name], reverse=found.headline == "accuracy"):
        shown = measure(values[name], found.headline, found.unit)
        table.add_row(name, shown, style="bold" if name in ours else "")
    console.print(table)
    console.print(f"active per layer: {rates(found.test.activation_rates)}", highlight=False)
    console.print(f"report: {run.path / 'report.html'}", highlight=False, soft_wrap=True)


def score_table(title: str, found: Evaluation, unit: str) -> Table:
    """A model's scores on a split."""
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_row(f"bits per {unit}", f"{found.bits:.4f}")
    table.add_row("accuracy", f"{100 * found.accuracy:.2f} %")
    table.add_row(f"{unit}s", f"{found.n_units:,}")
    table.add_row("active per layer", rates(found.activation_rates))
    table.add_row("seconds", f"{found.seconds:.1f}")
    return table


def worth_table(worth: Sequence[Worth], rates: Sequence[float], unit: str = "bits") -> Table:
    """What routing decisions are worth, and how often each routed module is activated."""
    table = Table(title=f"Gain of activation in {unit}, by flips of single decisions", title_justify="left")
    table.add_column("layer")
    for head in ("active", "flips", "gain, active", "gain, inactive", "confidence"):
        table.add_column(head, justify="right")
    mean = sum(rates) / len(rates)
    for each, rate in zip(worth, [*rates, mean], strict=False):
        gains = ("-" if gain is None else f"{gain:+.4f}" for gain in (each.gain_active, each.gain_inactive))
        order = each.confidence
        shown = "-" if order.value is None else f"{order.value:+.2f}"
        if order.low is not None:
            shown += f" [{order.low:+.2f}, {order.high:+.2f}]"
        flips = f"{each.n_active} + {each.n_inactive}"
        table.add_row(each.name, f"{100 * rate:.0f} %", flips, *gains, shown)
    return table


def differences_table(first: str, second: str, found: Sequence[tuple[str, Any, Any]]) -> Table:
    """The fields in which two specs differ; long values are cut, paths are not."""
    table = Table()
    for head in ("field", first, second):
        table.add_column(head, overflow="fold")
    for path, left, right in found:
        table.add_row(path, _short(left), _short(right))
    return table


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
