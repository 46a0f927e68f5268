"""Sections of a report: HTML and images that show a model at work on a task."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sma.activation_map import ActivationMap
from sma.plots.html import legend_html


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


def tint_note(activations: Sequence[ActivationMap], element: str) -> str:
    """The meaning of the elements' tints, as HTML; or a note that the model routes nothing.

    Args:
        activations: of rows of one model, at least one.
        element: what one element is called.
    """
    names, highest = activations[0].names, activations[0].highest
    if not names:
        return f"<p>The model has no routed sub-modules: every {element} is read by all of it.</p>"
    n_elements = max(sum(map(len, activations)), 1)
    rate = sum(int(each.counts.sum()) for each in activations) / (n_elements * highest)
    return (
        f"<p>The darker a {element}, the more of {highest} routed sub-modules it activated; white ones "
        f"activated none. On average {rate:.0%} of them were activated.</p>{legend_html(highest)}"
    )
