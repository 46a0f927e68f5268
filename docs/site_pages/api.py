"""A package's public names as directives of autodoc."""

import importlib
import inspect
from typing import Any

from sma import Spec


def page(package: str) -> str:
    """Everything in a package's `__all__`, grouped by the module that defines it.

    Specs with a kind and presets are left out: they have pages of their own.
    """
    module = importlib.import_module(package)
    names: dict[str, list[str]] = {}
    seen: set[int] = set()
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) and thing.__name__ in module.__all__:
            name = thing.__name__  # rather than a short one
        if id(thing) in seen or _is_kind(thing) or not (inspect.isclass(thing) or inspect.isroutine(thing)):
            continue
        seen.add(id(thing))
        names.setdefault(getattr(thing, "__module__", package), []).append(name)
    return "\n\n".join(_group(package, origin, held) for origin, held in sorted(names.items()))


def _is_kind(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Spec) and thing.family() is not thing


def _group(package: str, origin: str, names: list[str]) -> str:
    module = importlib.import_module(package)
    lines = [_directive(package, name, getattr(module, name)) for name in names]
    return f"## {origin}\n\n```{{eval-rst}}\n" + "\n".join(lines) + "```"


def _directive(package: str, name: str, thing: Any) -> str:
    if inspect.isclass(thing):
        return f".. autoclass:: {package}.{name}\n   :members:\n   :show-inheritance:\n"
    return f".. autofunction:: {package}.{name}\n"
