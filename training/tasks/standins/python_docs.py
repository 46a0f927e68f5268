"""Linked pages of Python's documentation: whether one page links to another, from the bytes of both."""

import hashlib
import random
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from sma import register
from sma.architectures.files.reading import expanded, read_whole
from sma.training.tasks.rows import RowPairs
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.standins.installed import debian_path
from sma.training.tasks.task import TaskSpec
from sma.training.tasks.text.byte_rows import BYTE_NAMES, byte_rows, join

FOLDER = Path("/usr/share/doc/python3.11/html")
PACKAGE = "python3.11-doc"
SHARES = {"test": 0.2, "validation": 0.15}
"""Of the pages."""
SKIPPED = ("contents", "whatsnew/changelog", "copyright", "about", "bugs")
"""Pages that link to all others, and those to which every page links; tables of contents are skipped, too."""

Pair = tuple[str, str]

_BODY = re.compile(r'<div class="body" role="main">(.*?)<div class="sphinxsidebar"', re.DOTALL)
_LINK = re.compile(r'<a class="reference internal" href="([^"#]+?)\.html(?:#[^"]*)?"')


@register
class PythonDocsSpec(TaskSpec):
    """Pairs of pages of Python 3.11's documentation, as Debian's python3.11-doc holds them: linked, or not.

    As in Retrieval of the Long Range Arena, both documents are read byte by byte and never together. A page
    is in one split, and both pages of a pair are of the same split. For every linked pair there is one that
    is not linked, made of the same first and second pages in another order: how often a page is linked says
    nothing.

    Attributes:
        max_length: longer pages are cut, in bytes of their source.
        folder: of the HTML pages and `_sources`.
    """

    kind: Literal["python_docs"] = "python_docs"
    max_length: Annotated[int, Field(ge=1, le=2**24)] = 2000
    folder: Annotated[str, Field(min_length=1)] = str(FOLDER)

    @override
    def build(self) -> RowsTask:
        root = debian_path(expanded(self.folder, field="task.folder"), PACKAGE)
        sources = read_sources(debian_path(root / "_sources", PACKAGE))
        links = read_links(root, sources)
        splits, digest = {}, hashlib.sha256()
        for split, pages in deal(sorted(sources)).items():
            linked = sorted((a, b) for a, b in links if a in pages and b in pages)
            pairs = [(pair, 1) for pair in linked] + [(pair, 0) for pair in unlinked(linked, links)]
            first, second = (
                byte_rows(join([(sources[pair[half]], label) for pair, label in pairs], self.max_length))
                for half in (0, 1)
            )
            splits[split] = RowPairs(first, second)
            digest.update(repr((split, pairs)).encode())
        for name in sorted(sources):
            digest.update(hashlib.sha256(sources[name]).digest())
        return RowsTask(
            splits,
            title="pairs of pages of Python's documentation, linked or not",
            facts={
                "package": f"Debian {PACKAGE}",
                "pages": f"{len(sources):,}, with {len(links):,} links between them",
                "split": "whole pages, by the hash of their names; both pages of a pair are of one split",
                "SHA-256 of pages and pairs": digest.hexdigest(),
            },
            classes=["not linked", "linked"],
            unit="pair",
            names=BYTE_NAMES,
        )


def read_sources(folder: Path) -> dict[str, bytes]:
    """The source of every page by its name, such as `library/json`; without skipped and empty ones.

    Raises:
        ValueError: if there are none.
    """
    end = ".rst.txt"
    found = {
        path.relative_to(folder).as_posix().removesuffix(end): read_whole(path, limit=2**24)
        for path in sorted(folder.rglob(f"*{end}"))
    }
    found = {name: text for name, text in found.items() if not _skipped(name) and text.strip()}
    if not found:
        raise ValueError(f"{folder} holds no sources of pages (*{end}); install {PACKAGE} anew")
    return found


def _skipped(name: str) -> bool:
    return name in SKIPPED or PurePosixPath(name).name == "index"


def read_links(root: Path, names: Sequence[str] | dict[str, bytes]) -> set[Pair]:
    """The pairs of pages of which the first links to the second in its text; not to itself.

    Raises:
        ValueError: if a page is missing or has another form.
    """
    found = set()
    for name in names:
        path = root / f"{name}.html"
        try:
            page = read_whole(path, limit=2**26).decode("utf-8", "replace")
        except FileNotFoundError:
            raise ValueError(f"{path} is missing; install {PACKAGE} anew") from None
        body = _BODY.search(page)
        if body is None:
            raise ValueError(f"{path} is not a page made by Sphinx; install {PACKAGE} anew")
        for target in _LINK.findall(body[1]):
            other = _resolve(PurePosixPath(name).parent, target)
            if other != name and other in names:
                found.add((name, other))
    return found


def _resolve(folder: PurePosixPath, target: str) -> str:
    """`library/json` of `../library/json`, seen from a page in `folder`."""
    parts: list[str] = []
    for part in (folder / target).parts:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts)


def deal(names: Sequence[str]) -> dict[str, set[str]]:
    """The pages of each split, by the hash of their names."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    found, start = {}, 0
    for split, share in SHARES.items():
        stop = start + round(share * len(ordered))
        found[split] = set(ordered[start:stop])
        start = stop
    return {**found, "training": set(ordered[start:])}


def unlinked(linked: Sequence[Pair], links: set[Pair]) -> list[Pair]:
    """As many pairs that are linked in neither direction, of the same first and second pages, each as often.

    A pair whose first page finds no partner is left out; the same input always gives the same pairs.
    """
    seconds = [second for _, second in linked]
    chance = random.Random(0)
    chance.shuffle(seconds)

    def wrong(first: str, second: str) -> bool:
        return first == second or (first, second) in links or (second, first) in links

    firsts = [first for first, _ in linked]
    for i, first in enumerate(firsts):
        for _ in range(200):
            if not wrong(first, seconds[i]):
                break
            j = chance.randrange(len(firsts))
            if not wrong(firsts[j], seconds[i]):
                seconds[i], seconds[j] = seconds[j], seconds[i]
    return [pair for pair in zip(firsts, seconds, strict=True) if not wrong(*pair)]
