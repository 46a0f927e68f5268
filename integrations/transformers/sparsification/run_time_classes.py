"""Objects whose class a function makes of another class at run time: what copies and pickles make anew."""

from collections.abc import Callable
from typing import Any


def reduced(make: Callable[[Any], Any], value: Any) -> Any:
    """What `__reduce_ex__` returns for an object of a class `make(base)`, whose last base is `base`."""
    return _new, (make, type(value).__bases__[-1]), value.__dict__


def _new(make: Callable[[Any], Any], base: Any) -> Any:
    made = make(base)
    return made.__new__(made)
