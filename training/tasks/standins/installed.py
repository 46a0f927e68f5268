"""Data of installed packages: where they are, and what to install where they are not."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


def debian_path(path: Path, package: str) -> Path:
    """A file or folder that a Debian package holds.

    Raises:
        ValueError: if it is missing; the message says how to install it.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing; install it on Debian or Ubuntu: apt-get install {package}")
    return path


def python_package(name: str) -> tuple[Path, str]:
    """The folder and the version of an installed Python package, which is not imported.

    Args:
        name: of the package on PyPI; its import name has underscores for hyphens.

    Raises:
        ValueError: if it is missing; the message says how to install it.
    """
    found = find_spec(name.replace("-", "_"))
    try:
        if found is None or not found.submodule_search_locations:
            raise PackageNotFoundError
        return Path(next(iter(found.submodule_search_locations))), version(name)
    except PackageNotFoundError:
        raise ValueError(f"the package {name} is missing; install it: pip install {name}") from None
