"""The `sma` command: its list of commands, and its errors in one line.

torch is imported inside the commands, so that help is quick.
"""

import os
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

import sma
from sma.training.cli import (
    checking,
    comparing,
    doctor,
    exports,
    listing,
    models,
    runs,
    scores,
    sparsifying,
)
from sma.training.interrupts import Terminated
from sma.training.parallel.torchrun import fails_first, is_main


class _Commands(TyperGroup):
    """Says an error that a user can do something about in one line, and exits with its code."""

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt, Terminated) as error:
            if ctx.params["traceback"] or isinstance(error, BrokenPipeError):
                raise  # typer ends quietly on the latter
            from sma.training.run.errors import explain

            of_command_line = isinstance(error, typer.Abort) or hasattr(error, "exit_code")
            if not (is_main() if of_command_line else fails_first()):
                raise typer.Exit(1) from None  # another process says why
            explained = None if of_command_line else explain(error)
            if explained is None:
                raise
            typer.echo(f"sma: {explained[0]}", err=True)
            raise typer.Exit(explained[1]) from None


app = typer.Typer(
    name="sma",
    cls=_Commands,
    help="Train and inspect sequence models with Sparse Modular Activation.",
    epilog="Exit codes: 0 done, 1 failed (or `diff` found a difference, `check` a violation), 2 wrong input, "
    "130 Ctrl-C, 143 SIGTERM.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    runs.train,
    scores.evaluate,
    scores.predict,
    scores.inspect,
    runs.report,
    listing.tasks,
    models.describe,
    models.schema,
    models.init,
    models.diff,
    runs.generate,
    comparing.compare,
    exports.export,
    sparsifying.sparsify,
    checking.check,
    doctor.doctor,
):
    app.command()(_command)
app.command("import")(models.import_checkpoint)

_format_warning = warnings.formatwarning


def main() -> None:
    """Run the command line."""
    warnings.formatwarning = _warning_line
    if not is_main():
        warnings.simplefilter("ignore")
    # Read when torch is loaded. By default a waiting thread spins for so long that a step beside other
    # programs takes up to forty times as long; with fewer spins it sleeps, and a step alone takes no longer.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # transformers' bars of loading and saving would stand before the output.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
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
    """Options of every command; `_Commands` reads `traceback`."""


if __name__ == "__main__":
    main()
