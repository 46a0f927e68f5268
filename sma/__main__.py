"""The `sma` command, also as `python -m sma` and `torchrun -m sma`; its code is in a package above."""

import sys
from importlib import import_module

from sma.lazy import MissingPackageError


def main() -> None:
    """Run the command line, or say in one line which of its packages is missing."""
    try:
        run = import_module("sma.training.cli.app").main
    except MissingPackageError as error:
        sys.exit(f"sma: {error}")
    run()


if __name__ == "__main__":
    main()
