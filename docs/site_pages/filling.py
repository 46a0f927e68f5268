"""Pages that are made while the site is built, from the registry of kinds and from the packages.

A page says where by a comment on a line of its own, such as `<!-- made: kinds RouterSpec -->`.
"""

import re
from pathlib import Path
from typing import Any

from site_pages import api, examples, kinds, mathematics, runs

_PLACE = re.compile(r"^<!-- made: (\w+)(?: ([\w./ ]+))? -->$", re.MULTILINE)
_TITLED = re.compile(r"^```(\w+) title=(\S+)$", re.MULTILINE)
_MAKERS = {
    "api": api.page,
    "examples": examples.page,
    "kinds": kinds.page,
    "mathematics": mathematics.page,
    "presets": runs.presets,
    "recipes": runs.recipes,
    "tasks": kinds.page,
}


def filled(text: str) -> str:
    """A page's Markdown with what is made in place of its comments, and the names of files above blocks.

    Raises:
        KeyError: if a comment asks for something unknown.
    """
    text = _PLACE.sub(lambda found: _MAKERS[found[1]](*(found[2] or "").split()), text)
    return _TITLED.sub(r"```{code-block} \1\n:caption: \2\n", text)


def _on_source(app: Any, name: str, content: list[str]) -> None:
    content[0] = filled(content[0])


def _on_outdated(app: Any, environment: Any, *names: set[str]) -> list[str]:
    """The pages that are made from code, which may have changed though their own text has not."""
    paths = {name: Path(environment.doc2path(name)) for name in environment.found_docs}
    return [name for name, path in paths.items() if _PLACE.search(path.read_text(encoding="utf-8"))]


def setup(app: Any) -> dict[str, Any]:
    """Fill pages when they are read."""
    app.connect("source-read", _on_source)
    app.connect("env-get-outdated", _on_outdated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
