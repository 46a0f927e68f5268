"""The colours of activation, and text that is tinted by it, as HTML."""

import html
import reprlib
from collections.abc import Collection, Sequence
from itertools import groupby

from sma.activation_map import ActivationMap, to_map
from sma.recording import Recording

INK = "#1f2933"
FAINT = "#9aa5b1"
LINE = "#e4e7eb"
TINTS = ("#ffffff", "#d9f2ec", "#a7e0d3", "#6ec9b7", "#37ac97")
NEWLINE = "\u21b5"
"""The sign for a line break, which can be activated like any other character."""


def tint(share: float) -> str:
    """The background colour of an element that activated this share of all sub-modules; white for none."""
    place = min(max(share, 0.0), 1.0) * (len(TINTS) - 1)
    low = min(int(place), len(TINTS) - 2)
    ends = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in TINTS[low : low + 2]]
    mixed = (round(a + (b - a) * (place - low)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def legend_html(highest: int) -> str:
    """The tints of 0 to `highest` activations, as HTML."""
    style = f"color:{INK};padding:0 .6em;background:"
    cells = "".join(f'<span style="{style}{tint(n / highest)}">{n}</span>' for n in ticks(highest))
    return f"<p class=legend>sub-modules activated: {cells}</p>"


def text_html(activations: Recording | ActivationMap, texts: Sequence[str], *, row: int = 0) -> str:
    """Text in which every element is tinted by how many sub-modules it activated, as HTML.

    In a notebook, `IPython.display.HTML` shows it. The pointer over an element says which ones.

    Args:
        activations: of the elements, or a recording.
        texts: the text of each element: a string has one character each, a list of tokens one token.
        row: of the recording.

    Raises:
        ValueError: if there are more or fewer texts than elements.
        TypeError: if they are not strings, or `activations` is neither of the two.

    Example:
        >>> import torch
        >>> text_html(ActivationMap(torch.tensor([[True], [False]]), ("layer 1",)), "ab")
        '<pre class=tinted ...><span style="background:#37ac97" title="layer 1">a</span>b</pre>'
    """
    found = to_map(activations, row)
    check_texts(texts, found)
    sets = [tuple(active.nonzero().flatten().tolist()) for active in found.active]
    parts = []
    for active, run in groupby(zip(texts, sets, strict=True), key=lambda pair: pair[1]):
        text = html.escape("".join(text for text, _ in run)).replace("\n", f"{NEWLINE}\n")
        if active:
            names = "; ".join(found.names[m] for m in active)
            color = tint(len(active) / found.highest)
            text = f'<span style="background:{color}" title="{html.escape(names)}">{text}</span>'
        parts.append(text)
    return f'<pre class=tinted style="color:{INK};background:{TINTS[0]}">{"".join(parts)}</pre>'


def check_texts(texts: Sequence[str], activations: ActivationMap) -> None:
    """See that there is a text for each element.

    Raises:
        TypeError: if they are not strings.
        ValueError: if there are more or fewer.
    """
    if not isinstance(texts, Collection) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"texts must be a string, or a list of strings, got {reprlib.repr(texts)}")
    check_length("texts", len(texts), activations)


def check_length(what: str, n: int, activations: ActivationMap) -> None:
    """See that there is one of something for each element.

    Raises:
        ValueError: if there are n others.
    """
    if n != len(activations):
        raise ValueError(
            f"there are {n} {what}, but {len(activations)} elements were recorded; give one for each element"
        )


def ticks(highest: int) -> list[int]:
    """The values in a legend: 0 to `highest`, or 11 of these."""
    n = min(highest, 10)
    return [round(highest * i / n) for i in range(n + 1)]
