"""The report's section on text: held-out files, each character tinted by its activations."""

import html
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import nn

import sma
from sma.plots import ActivationMap, draw_layers, draw_text, text_html
from sma.training.figures import to_png
from sma.training.tasks.corpus import TextFile
from sma.training.tasks.running import evaluating
from sma.training.tasks.section import Image, Section, tint_note

LINES = 34
COLUMNS = 110
LEAD = 1500
"""Bytes of the file before an excerpt, where the file is long enough: what the model has read by then."""


def text_sections(held_out: Sequence[TextFile], model: nn.Module, *, n_excerpts: int = 2) -> list[Section]:
    """Excerpts from the first of some held-out files that are long enough."""
    files = sorted(held_out, key=lambda file: len(file.content) < 2 * LEAD)[:n_excerpts]
    blocks, images, shown = [], [], []
    for number, file in enumerate(files, 1):
        texts, found = excerpt(file, model)
        shown.append(found)
        blocks.append(f"<h3><code>{html.escape(file.path)}</code></h3>{text_html(found, texts)}")
        png = to_png(draw_text(found, texts, columns=COLUMNS))
        images.append(Image(f"tinted_text_{number}.png", f"{file.path}, tinted", png, embed=False))
        caption = f"{file.path}, layer by layer: dark where a character activated it"
        images.append(Image(f"layers_{number}.png", caption, to_png(draw_layers(found))))
    intro = f"<p>Held-out text, never seen in training.</p>{tint_note(shown, 'character')}"
    pointer = "<p>Hold the pointer over a character to see which.</p>" if shown[0].names else ""
    return [Section("Where the model activates", intro + pointer + "".join(blocks), images)]


def excerpt(file: TextFile, model: nn.Module) -> tuple[list[str], ActivationMap]:
    """The characters of some lines of a file, and what each activated on its first byte."""
    content = file.content
    start = content.rfind(b"\n", 0, min(LEAD, len(content) // 2)) + 1
    end = start
    for _ in range(LINES):
        end = content.find(b"\n", end) + 1 or len(content)
    end = min(end, start + LINES * COLUMNS)
    shown = characters(content[start:end])
    places = list(accumulate((size for _, size in shown), initial=start))[:-1]
    return [character for character, _ in shown], activations(model, content[:end])[places]


def activations(model: nn.Module, content: bytes) -> ActivationMap:
    """What was activated on reading each byte of a file."""
    device = next(model.parameters()).device
    inputs = torch.tensor([[0, *content]], device=device)
    with evaluating(model), torch.no_grad(), sma.record() as recording:
        model(inputs)
    if not recording.layers:
        return ActivationMap.none(len(content))
    return ActivationMap.of(recording)[1:]


def characters(content: bytes) -> list[tuple[str, int]]:
    """The characters of UTF-8 text with their sizes in bytes; where it is not UTF-8, bytes one by one."""
    try:
        return [(character, len(character.encode())) for character in content.decode()]
    except UnicodeDecodeError:
        return [(character, 1) for character in content.decode("latin-1")]
