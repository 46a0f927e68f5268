"""Imports at first use: the names of a package, and packages that an extra installs."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from typing_extensions import override


def lazy_names(package: str, parts: Sequence[str], *, elsewhere: Mapping[str, str] | None = None) -> None:
    """Let a package import the modules that hold its `__all__` at the first use of a name.

    Its modules become attributes too, so that `import sma` is enough for `sma.plots`; `dir` lists both.

    Args:
        package: dotted name of the package, which calls this where its `__all__` stands.
        parts: the modules that hold its names.
        elsewhere: names beside `__all__` that packages above this one hold, each with its package.

    Example:
        >>> import sma
        >>> sma.plots.__name__, "plots" in dir(sma), "Router" in dir(sma)
        ('sma.plots', True, True)
    """
    module = sys.modules[package]
    module.__class__ = _LazyPackage
    vars(module)["_parts"] = tuple(parts)
    vars(module)["_elsewhere"] = dict(elsewhere or {})


class MissingPackageError(ImportError, ValueError):
    """A package is missing that an extra of this one installs; the message names both."""


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Inside, an import that fails names the package, and the extra that installs it.

    Args:
        extra: of this package, as in `sparse-modular-activation[plots]`.
        what: needs what is imported; the message begins with it.

    Raises:
        MissingPackageError: an ImportError that is a ValueError, too.

    Example:
        >>> with needs("plots", "a picture"):
        ...     import not_there
        Traceback (most recent call last):
        sma.lazy.MissingPackageError: a picture needs the package not_there (No module named 'not_there'); \
install it with: pip install 'sparse-modular-activation[plots]'
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or extra).partition(".")[0]
        raise MissingPackageError(
            f"{what} needs the package {package} ({error}); install it with: pip install "
            f"'sparse-modular-activation[{extra}]'"
        ) from error


class _LazyPackage(ModuleType):
    __all__: list[str]
    _parts: tuple[str, ...]
    _elsewhere: dict[str, str]

    @override
    def __getattr__(self, name: str) -> Any:
        if name in self._elsewhere:
            return getattr(import_module(self._elsewhere[name]), name)
        if name in self.__all__:
            for part in self._parts:
                held = vars(import_module(f"{self.__name__}.{part}"))
                own = {
                    key: held[key] for key in self.__all__ if not isinstance(held.get(key), ModuleType | None)
                }
                vars(self).update(own)
            return vars(self)[name]
        if not name.startswith("_") and find_spec(f"{self.__name__}.{name}") is not None:
            return import_module(f"{self.__name__}.{name}")
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        """A module that is imported does not hide a name of `__all__`, such as the function of its name."""
        if not (name in self.__all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    @override
    def __dir__(self) -> list[str]:
        return sorted(
            {
                *vars(self),
                *self.__all__,
                *self._elsewhere,
                *(found.name for found in iter_modules(self.__path__)),
            }
        )
