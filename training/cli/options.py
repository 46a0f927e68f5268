"""Options and arguments that several commands take."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sma.training.settings.overrides import Assignment

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


def _import(names: list[str] | None) -> list[str] | None:
    from sma.training.imported import import_modules

    import_modules(names or [])
    return names


ImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="Import a Python module first, which registers kinds. Repeatable.",
        show_default=False,
        callback=_import,
        is_eager=True,
    ),
]


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """See that an option has one of the values that it may have.

    Raises:
        ValueError: if it does not.
    """
    if value not in allowed:
        raise ValueError(f"{name} {value}: use {' or '.join(allowed)}")


def field_assignments(short: Mapping[str, Any], changes: Sequence[str]) -> "list[Assignment]":
    """The fields that options set which are short for `--set`, and those of `--set` itself.

    Args:
        short: the values of such options by the paths of their fields, as in `task.length`; None: not given.
        changes: of `--set`.

    Raises:
        ValueError: if an option and `--set` give the same field, or a change is not field=value.

    Example:
        >>> field_assignments({"steps": 3, "seed": None}, ["task.length=8"])
        [(('steps',), 3), (('task', 'length'), 8)]
    """
    from sma.training.settings.overrides import parse_assignment

    given = [(tuple(name.split(".")), value) for name, value in short.items() if value is not None]
    parsed = [parse_assignment(change) for change in changes]
    for (path, value), (other, changed) in product(given, parsed):
        n = min(len(path), len(other))
        if path[:n] == other[:n]:
            raise ValueError(
                f"{'.'.join(path)}={value} is given by its own option, and "
                f"--set {'.'.join(other)}={changed} as well; leave out one of them"
            )
    return [*given, *parsed]


def write_lines(lines: Iterable[str], out: Path | None) -> None:
    """Print lines, or write them to a new file.

    Raises:
        ValueError: if the file exists, or cannot be made.
    """
    if out is None:
        for line in lines:
            typer.echo(line)
        return
    check_new_file(out)
    first = iter(lines)
    head = list(islice(first, 1))  # what fails leaves no file
    with _explained(out), out.open("x", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in chain(head, first))


def check_new_file(out: Path) -> None:
    """See that a file can be made, before what it is to hold is computed.

    Raises:
        ValueError: if it exists, or cannot be made.
    """
    with _explained(out):
        out.open("x").close()
        out.unlink()


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn errors while a new file is made into one line."""
    try:
        yield
    except FileExistsError:
        raise ValueError(f"{out} exists already; name a new file, or remove it") from None
    except OSError as error:
        raise ValueError(
            f"cannot write {out} ({error.strerror}); name a file in a folder that exists"
        ) from None
