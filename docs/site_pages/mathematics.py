"""The equations of all modules, from their docstrings."""

import importlib
import inspect
from typing import Any

from site_pages.markdown import description


def page(package: str) -> str:
    """Every public class of a package whose docstring has an equation: what it says, and where it is from."""
    module = importlib.import_module(package)
    classes = {name: getattr(module, name) for name in module.__all__}
    return "\n\n".join(_class(package, name, held) for name, held in classes.items() if _has_equation(held))


def _has_equation(thing: Any) -> bool:
    return inspect.isclass(thing) and "$$" in (vars(thing).get("__doc__") or "")


def _class(package: str, name: str, thing: type) -> str:
    shown = name if name == thing.__name__ else f"{name} ({thing.__name__})"
    return f"### {shown}\n\n{description(thing)}\n\nIn Python: {{py:class}}`{package}.{name}`."
