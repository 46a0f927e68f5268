"""Errors that a user can do something about, and how the command says them in one line."""


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
        return " ".join(str(error).split()), 2 if isinstance(error, ValueError) else 1
    return None


def one_line(error: Exception) -> str:
    """A pydantic error in one line: every wrong field, its value, and what is allowed."""
    parts = []
    details = error.errors(include_url=False)  # type: ignore[attr-defined]
    for detail in details:
        if detail["type"] == "too_short" and any(
            _is_inside(other["loc"], detail["loc"]) for other in details
        ):
            continue  # it counts only the items that are right
        path = ".".join(str(part) for part in detail["loc"] if not _is_branch(part))
        message = detail["msg"].removeprefix("Value error, ")
        value = detail["input"]
        shown = f"={value!r}" if isinstance(value, str | int | float) or value is None else ""
        if detail["type"] == "missing":
            shown, message = "", "is missing; set it"
        parts.append(f"{path}{shown}: {message}" if path else message)
    return " | ".join(dict.fromkeys(parts))


def _is_inside(place: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


def _is_branch(part: int | str) -> bool:
    """Whether a part of a location names a branch of a union, and not a field."""
    return isinstance(part, str) and any(mark in part for mark in "[(-")


def _is_out_of_memory(error: BaseException) -> bool:
    name = type(error).__name__
    return (
        isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in str(error)
    )
