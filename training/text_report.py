"""Held-out text in which every character says how many layers activated on it."""

import html
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import nn

import sma
from sma.training.evaluation import evaluating
from sma.training.plots import draw_text, legend_html, tint
from sma.training.report import Image, Section

if TYPE_CHECKING:
    from sma.training.text import TextFile, TextTask

LINES = 34
COLUMNS = 110
LEAD = 1500
"""Bytes of the file before an excerpt, where the file is long enough: what the model has read by then."""

NEWLINE = "\u21b5"
"""What a line break is shown as, since it can be activated like any other byte."""

Character = tuple[str, tuple[int, ...]]
"""A character and the numbers of the sub-modules it activated, counted over all layers from 1."""


def text_sections(task: "TextTask", model: nn.Module, *, n_excerpts: int = 2) -> list[Section]:
    """Excerpts from the first test files that are long enough."""
    files = sorted(task.corpus.test, key=lambda file: len(file.content) < 2 * LEAD)[:n_excerpts]
    blocks, images, highest = [], [], 1
    for number, file in enumerate(files, 1):
        lines, highest = excerpt(file, model)
        blocks.append(f"<h3><code>{html.escape(file.path)}</code></h3>{_as_html(lines, highest)}")
        counted = [[(character, len(active)) for character, active in line] for line in lines]
        longest = max((len(line) for line in lines), default=1)
        png = draw_text(counted, highest, columns=max(min(longest, COLUMNS), 48))
        images.append(Image(f"tinted_text_{number}.png", f"{file.path}, tinted", png, embed=False))
    intro = (
        "<p>Held-out source, never seen in training. The darker a character, the more layers activated their "
        "attention on reading it; on white ones only the state-space model and the linear map ran. Hold the "
        f"pointer over a character to see which layers.</p>{legend_html(highest)}"
    )
    return [Section("Where the model attends", intro + "".join(blocks), images)]


def excerpt(file: "TextFile", model: nn.Module) -> tuple[list[list[Character]], int]:
    """Some lines of a file with the sub-modules that each character activated, and how many there are."""
    content = file.content
    start = content.rfind(b"\n", 0, min(LEAD, len(content) // 2)) + 1
    end = start
    for _ in range(LINES):
        end = content.find(b"\n", end) + 1 or len(content)
    end = min(end, start + LINES * COLUMNS)
    active = activations(model, content[:end])[start:]
    lines: list[list[Character]] = [[]]
    place = 0
    for character, size in characters(content[start:end]):
        which = tuple((active[place].nonzero().flatten() + 1).tolist())
        place += size
        lines[-1].append((NEWLINE if character == "\n" else character, which))
        if character == "\n":
            lines.append([])
    return [line for line in lines if line], active.shape[1]


def activations(model: nn.Module, content: bytes) -> torch.Tensor:
    """`(len(content), sub-modules of all layers)` bool: what was activated on reading each byte of a file."""
    device = next(model.parameters()).device
    inputs = torch.tensor([[0, *content]], device=device)
    with evaluating(model), torch.no_grad(), sma.record() as recording:
        model(inputs)
    layers = [layer.routing.active[0, 1:] for layer in recording.layers]
    return torch.cat(layers, -1).cpu() if layers else torch.zeros(len(content), 1, dtype=torch.bool)


def characters(content: bytes) -> list[tuple[str, int]]:
    """The characters of UTF-8 text with their sizes in bytes; where it is not UTF-8, bytes one by one."""
    try:
        return [(character, len(character.encode())) for character in content.decode()]
    except UnicodeDecodeError:
        return [(character, 1) for character in content.decode("latin-1")]


def _as_html(lines: Sequence[Sequence[Character]], highest: int) -> str:
    def span(active: tuple[int, ...], text: str) -> str:
        if not active:
            return html.escape(text)
        names = f"layer {active[0]}" if len(active) == 1 else f"layers {', '.join(map(str, active))}"
        color = tint(len(active) / highest)
        return f'<span style="background:{color}" title="{names}">{html.escape(text)}</span>'

    parts = (
        "".join(
            span(active, "".join(c for c, _ in run))
            for active, run in groupby(line, key=lambda pair: pair[1])
        )
        for line in lines
    )
    body = "\n".join(parts)
    return f"<pre class=tinted>{body}</pre>"
