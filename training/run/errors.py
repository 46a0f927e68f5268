"""Errors that a user can do something about, and how the command says them in one line."""


class RunError(RuntimeError):
    """A run cannot continue: a full disk, a damaged checkpoint, a loss that is not a number.

    The message is one line that says what is kept and what to do. Wrong input raises `ValueError` instead.
    """


def explain(error: BaseException) -> tuple[str, int] | None:
    """An error as one line and an exit code: 2 for wrong input, 1 for a failed run; None for a bug.

    130 and 143 are those of Ctrl-C and SIGTERM.

    Below the line of an error in YAML stands the place, with a caret.

    Example:
        >>> explain(RunError("the disk is full; free some space"))
        ('the disk is full; free some space', 1)
    """
    from pydantic import ValidationError

    from sma.spec.errors import one_line
    from sma.training.interrupts import Terminated
    from sma.training.parallel.torchrun import lost_connection

    if isinstance(error, ValidationError):
        return one_line(error), 2
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted; what was saved is kept", 130
    if isinstance(error, Terminated):
        return str(error) or "stopped by SIGTERM; what was saved is kept", 143
    if _is_out_of_memory(error):
        return "out of memory; set a smaller batch_size (with accumulation), task.length or model", 1
    if lost_connection(error):
        return "another process ended, so that this one cannot go on; what was saved is kept", 1
    if isinstance(error, RunError | ValueError | OSError):
        line = " ".join(str(error).split())
        return line + _place(error), 2 if isinstance(error, ValueError | FileNotFoundError) else 1
    return None


def _place(error: BaseException) -> str:
    """The line of YAML that an error is about, below it a caret, as lines of their own; else nothing."""
    from yaml import MarkedYAMLError

    mark = error.__cause__.problem_mark if isinstance(error.__cause__, MarkedYAMLError) else None
    snippet = mark.get_snippet() if mark is not None else None
    return f"\n{snippet}" if snippet else ""


def cause(error: BaseException) -> str:
    """The message of an error without its remedy, which differs for a file of a run.

    Example:
        >>> cause(ValueError("a.txt is a pipe, not a file; name a file"))
        'a.txt is a pipe, not a file'
    """
    return " ".join(str(error).rpartition("; ")[0].split()) or " ".join(str(error).split())


def _is_out_of_memory(error: BaseException) -> bool:
    name = type(error).__name__
    return (
        isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in str(error)
    )
