"""The progress of a comparison and its tables, in a terminal or a pipe."""

from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from sma.training.comparison.compare import Progress
from sma.training.comparison.comparison_page import PAGE
from sma.training.comparison.measurements import Comparison
from sma.training.comparison.tables import budget_table, crossing_lines, missing_lines


class Table:
    """A table of the runs at work that is drawn anew; lines alone where the output is not a terminal.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = (
            Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        )

    def __enter__(self) -> "Table":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: Progress, line: str | None) -> None:
        """Show how far a comparison is, and a line about what has happened."""
        if line is not None:
            self.console.print(line, highlight=False, soft_wrap=True, markup=False)
        if self._live is not None:
            self._live.update(_progress(progress), refresh=True)


def _progress(progress: Progress) -> Group:
    table = RichTable("run", "done", "step")
    for job in progress.jobs.running.values():
        table.add_row(job.name, f"{100 * job.progress:.0f} %", f"{job.step:,}")
    wanted = progress.plan.wanted(progress.done, progress.failed)
    counted = f"{len(progress.done)} of {max(len(wanted), len(progress.done))} runs finished"
    return Group(table, Text(counted + (f", {len(progress.failed)} failed" if progress.failed else "")))


def show(console: Console, folder: Path, comparison: Comparison) -> None:
    """Print the tables of a comparison, and what crosses and is missing."""
    for budget in comparison.budgets:
        found = budget_table(comparison, budget)
        table = RichTable(title=found.title, title_justify="left")
        for i, head in enumerate(found.heads):
            table.add_column(head, justify="right" if i else "left", overflow="fold")
        for row in found.rows:
            table.add_row(*row, style="bold" if row[0] == comparison.models[0].name else "")
        if found.rows:
            console.print(table)
    for line in [*crossing_lines(comparison), *missing_lines(comparison)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(f"page: {folder / PAGE}", highlight=False, soft_wrap=True, markup=False)
