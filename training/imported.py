"""Modules of a user that register kinds, named by `--import`."""

import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from types import ModuleType

_names: list[str] = []


def import_named(name: str, what: str) -> ModuleType:
    """A module, also of the folder that the process works in.

    Args:
        name: as Python names it.
        what: says in errors what named it.

    Raises:
        ValueError: if there is no such module.
    """
    if name.endswith(".py") or os.sep in name:
        raise ValueError(f"{what}: name a module as Python does, such as my_module, from its folder")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"{what}: there is no module {error.name}; install it, or call this in its folder"
        ) from error


def import_modules(names: Sequence[str]) -> None:
    """Import modules, and remember them for `import_options`.

    Raises:
        ValueError: if there is no such module.
    """
    for name in names:
        import_named(name, f"--import {name}")
        if name not in _names:
            _names.append(name)


def import_options() -> str:
    """The options that import the same modules again, with a space before each.

    Example:
        >>> import_options()
        ''
    """
    return "".join(f" --import {shlex.quote(name)}" for name in _names)


def imported_names() -> list[str]:
    """The names of the modules that were imported, in order."""
    return list(_names)
