"""The names by which programs import functions."""

import sys
from collections.abc import Callable
from typing import Any


def importable(function: Callable[..., Any]) -> tuple[str, str] | None:
    """The module that holds a function, and its name there, which need not be its own.

    A function that another one makes has a name if a module assigns it to one.

    Returns:
        The names; None if the module that defines it does not hold it, or is the script that runs.

    Example:
        >>> from textwrap import dedent
        >>> importable(dedent), importable(lambda: 0)
        (('textwrap', 'dedent'), None)
    """
    module = getattr(function, "__module__", None) or ""
    if module == "__main__":
        return None
    held = vars(sys.modules[module]) if module in sys.modules else {}
    names = (getattr(function, "__qualname__", ""), *held)
    name = next((name for name in names if name.isidentifier() and held.get(name) is function), None)
    return None if name is None else (module, name)
