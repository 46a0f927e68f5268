"""Docstrings as Markdown."""

import inspect
import re
from typing import Any

_HEADING = re.compile(r"^(Args|Attributes|Example|Examples|Raises|Returns|Yields):$", re.MULTILINE)
_ADDRESS = re.compile(r"(?<!<)\bhttps?://[^\s),;]*[^\s),;.:]")


def formulas(text: str) -> str:
    """Formulas as Markdown takes them: `$` without spaces inside."""
    return re.sub(
        r"(?<!\$)\$ ([^$]+) \$(?!\$)|\\\(([^$\n]+?)\\\)", lambda found: f"${found[1] or found[2]}$", text
    )


def first_paragraph(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def linked(text: str) -> str:
    """Addresses as links."""
    return _ADDRESS.sub(r"<\g<0>>", text)


def description(thing: Any) -> str:
    """A docstring up to its first section, with formulas and links."""
    return linked(formulas(_HEADING.split(inspect.getdoc(thing) or "")[0])).strip()
