"""The equations of all modules, from their docstrings."""

import importlib
import inspect
from typing import Any

from site_pages.markdown import description


def page(package: str) -> str:
    """Every public class of a package whose docstring has an equation: what it says, and where it is from."""
    module = importlib.import_module(package)
    names = {getattr(module, name): name for name in module.__all__ if _has_equation(getattr(module, name))}
    return "\n\n".join(_class(package, name, held) for held, name in names.items())


def _has_equation(thing: Any) -> bool:
    return inspect.isclass(thing) and "$$" in (vars(thing).get("__doc__") or "")


def _class(package: str, name: str, thing: type) -> str:
    return f"### {name}\n\n{description(thing)}\n\nIn Python: {{py:class}}`{package}.{name}`."
