"""Bounds on what a spec may nest, repeat and hold, so that whatever a file says is answered quickly."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

MAX_DEPTH = 32
"""Specs inside one another."""
MAX_PARTS = 10_000
"""Specs in one, counted wherever an alias repeats them."""
MAX_YAML_BYTES = 2**20
"""Of a YAML file, which takes seconds per MiB to read."""
MAX_JSON_BYTES = 2**24
"""Of a JSON file."""
MAX_FIELDS = 1000
"""Fields that a file may merge into one mapping."""
MAX_BLOCKS = 4096
"""Blocks of a model, each as often as it is repeated."""
MAX_PARAMETERS = 10**12
"""Parameters of a model."""

_place: ContextVar[tuple[int, Iterator[int]] | None] = ContextVar("place", default=None)
"""How deep in the outermost spec validation stands, and the numbers of the parts to come."""


class TooManyPartsError(Exception):
    """Ends a validation at once, as a ValueError would not."""


@contextmanager
def counting(*, anew: bool = False) -> Iterator[bool]:
    """Count the parts of a spec that is validated inside; gives whether it is the outermost.

    Args:
        anew: whether to count from 0 inside another spec, too.
    """
    outermost = _place.get() is None
    if not (outermost or anew):
        yield False
        return
    token = _place.set((0, count(1)))
    try:
        yield outermost
    finally:
        _place.reset(token)


@contextmanager
def counted() -> Iterator[None]:
    """Count one more spec, one level deeper, of the outermost one that is being validated.

    Raises:
        ValueError: if it is nested too deep.
        TooManyPartsError: if it is one too many.
    """
    depth, numbers = _place.get() or (0, count(1))
    if depth >= MAX_DEPTH:
        raise ValueError(f"specs are nested more than {MAX_DEPTH} deep; write a flatter one")
    if next(numbers) > MAX_PARTS:
        raise TooManyPartsError(
            f"the spec has more than {MAX_PARTS:,} parts, counted wherever an alias repeats them; write "
            "equal blocks once, with `repeat`"
        )
    token = _place.set((depth + 1, numbers))
    try:
        yield
    finally:
        _place.reset(token)
