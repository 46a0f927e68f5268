"""Errors that a user can do something about, and how the command says them in one line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class RunError(RuntimeError):
    """A run cannot go on: a full disk, a damaged checkpoint, a loss that is not a number.

    The message is one line that says what is kept and what to do. Wrong input raises `ValueError` instead.
    """


def explain(error: BaseException) -> tuple[str, int] | None:
    """An error as one line and an exit code: 2 for wrong input, 1 for a failed run; None for a bug.

    Example:
        >>> explain(RunError("the disk is full; free some space"))
        ('the disk is full; free some space', 1)
    """
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return one_line(error), 2
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what was saved is kept", 130
    if _is_out_of_memory(error):
        return "out of memory; set a smaller batch_size (with accumulation), task.length or model", 1
    if isinstance(error, RunError | ValueError | OSError):
        return " ".join(str(error).split()), 2 if isinstance(error, ValueError | FileNotFoundError) else 1
    return None


def cause(error: BaseException) -> str:
    """What an error says, without its remedy, which is another one for a file of a run.

    Example:
        >>> cause(ValueError("a.txt is a pipe, not a file; name a file"))
        'a.txt is a pipe, not a file'
    """
    return " ".join(str(error).rpartition("; ")[0].split()) or " ".join(str(error).split())


def one_line(error: "ValidationError") -> str:
    """The error of a spec in one line: every wrong field, its value, and what is allowed."""
    parts = []
    for detail in error.errors(include_url=False):
        path, value = ".".join(map(str, detail["loc"])), detail["input"]
        is_shown = detail["type"] != "missing" and (value is None or isinstance(value, str | int | float))
        shown = f"={_short(value)}" if is_shown else ""
        parts.append(f"{path}{shown}: {detail['msg']}" if path else detail["msg"])
    return " | ".join(parts)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."


def _is_out_of_memory(error: BaseException) -> bool:
    name = type(error).__name__
    return (
        isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in str(error)
    )
