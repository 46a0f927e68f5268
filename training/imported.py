"""Modules of a user that register kinds, named by `--import`."""

import importlib
import os
import shlex
import sys
from collections.abc import Sequence

_names: list[str] = []


def import_modules(names: Sequence[str]) -> None:
    """Import modules, also from the folder that the process works in.

    Raises:
        ValueError: if there is no such module.
    """
    for name in names:
        if name.endswith(".py") or os.sep in name:
            raise ValueError(
                f"--import {name}: name a module as Python does, such as my_module, from its folder"
            )
        if os.getcwd() not in sys.path and "" not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise ValueError(
                f"--import {name}: there is no module {error.name}; install it, or call this in its folder"
            ) from error
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
