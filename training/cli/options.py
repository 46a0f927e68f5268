"""Options and arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

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


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """See that an option has one of the values that it may have.

    Raises:
        ValueError: if it does not.
    """
    if value not in allowed:
        raise ValueError(f"{name} {value}: use {' or '.join(allowed)}")
