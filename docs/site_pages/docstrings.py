"""Docstrings as the site reads them: `$` around formulas, and indented code without a mark before it."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

_SECTIONS = ("Args", "Attributes", "Example", "Examples", "Note", "Raises", "Returns", "Yields")
_INLINE = re.compile(r"\$ ?([^$\n]+?) ?\$|\\\(([^$\n]+?)\\\)")


def restructured(lines: Sequence[str]) -> list[str]:
    """A docstring's lines as reStructuredText.

    Tables become lists of rows, `$$ ... $$` becomes a block of mathematics and `$ ... $` a formula in a line.
    What is indented by four spaces after a blank line becomes a block of code, except below the heading of a
    section.
    """
    return list(_code(list(_tables(list(_formulas(lines))))))


def _formulas(lines: Sequence[str]) -> Iterator[str]:
    inside = None  # the lines of a block of mathematics
    for line in lines:
        if inside is None and line.lstrip().startswith("$$"):
            indent, inside, line = line[: len(line) - len(line.lstrip())], [], line.lstrip()[2:]
        if inside is None:
            yield _INLINE.sub(lambda found: f":math:`{found[1] or found[2]}`", line)
            continue
        inside.append(line.strip().removesuffix("$$").strip())
        if line.rstrip().endswith("$$"):
            yield from ("", f"{indent}.. math::", "")
            yield from (f"{indent}   {text}" for text in inside if text)
            yield ""
            inside = None


def _tables(lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("| "):
            yield line
            continue
        if number == 0 or not lines[number - 1].lstrip().startswith("| "):
            yield from (".. list-table::", "   :header-rows: 1", "")
        if not line.lstrip().startswith("| ---"):
            for place, cell in enumerate(line.strip().strip("|").split(" | ")):
                yield f"   {'  -' if place else '* -'} {cell.strip().replace('*', chr(92) + '*')}"


def _code(lines: Sequence[str]) -> Iterator[str]:
    section = False
    literal = False
    for number, line in enumerate(lines):
        before = lines[number - 1] if number else ""
        if line and not line.startswith(" "):
            section = line.rstrip().removesuffix(":") in _SECTIONS and line.rstrip().endswith(":")
            literal = line.startswith("..")
        starts = line.startswith("    ") and not before.strip()
        if starts and not section and not literal and not line.lstrip().startswith(("- ", ">>>", "..", ":")):
            literal = True
            yield from ("::", "")
        yield line


def _on_docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def setup(app: Any) -> dict[str, Any]:
    """Read docstrings before napoleon does."""
    app.connect("autodoc-process-docstring", _on_docstring, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
