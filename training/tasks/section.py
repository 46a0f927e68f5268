"""Sections of a report: HTML and images that show a model at work on a task."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Image:
    """A PNG for the run's folder.

    Attributes:
        name: of the file.
        caption: one line.
        png: its bytes.
        embed: whether the page shows it.
    """

    name: str
    caption: str
    png: bytes = field(repr=False)
    embed: bool = True


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        body: HTML below the heading.
        images: shown below the body.
    """

    title: str
    body: str = ""
    images: Sequence[Image] = ()
