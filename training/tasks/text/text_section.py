"""The report's section on text: held-out files, each character tinted by its activations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray
from torch import nn

import sma
from sma.plots import ActivationMap, draw_layers, draw_text, text_html
from sma.training.figures import to_png
from sma.training.tasks.running import evaluating
from sma.training.tasks.section import Image, Section, tint_note
from sma.training.tasks.text.corpus import TextFile
from sma.training.tasks.text.tokenizer import Bytes, Tokenizer

LINES = 34
COLUMNS = 110
LEAD = 1500
"""Bytes of the file before an excerpt, where the file is long enough: what the model has read by then."""


HEAD = 2**20
"""Bytes of a file from which an excerpt is taken."""


def text_sections(
    held_out: Sequence[TextFile], model: nn.Module, tokenizer: Tokenizer, *, n_excerpts: int = 2
) -> list[Section]:
    """Excerpts from the first of some held-out files that are long enough."""
    files = sorted(held_out, key=lambda file: file.size < 2 * LEAD)[:n_excerpts]
    element = "character" if isinstance(tokenizer, Bytes) else "token"
    blocks, images, shown = [], [], []
    for number, file in enumerate(files, 1):
        texts, found = excerpt(file, model, tokenizer)
        shown.append(found)
        blocks.append(Markup("<h3><code>{}</code></h3>").format(file.path) + Markup(text_html(found, texts)))
        png = to_png(draw_text(found, texts, columns=COLUMNS))
        images.append(Image(f"tinted_text_{number}.png", f"{file.path}, tinted", png, embed=False))
        caption = f"{file.path}, layer by layer: dark where a {element} activated it"
        images.append(Image(f"layers_{number}.png", caption, to_png(draw_layers(found))))
    intro = f"<p>Held-out text, never seen in training.</p>{tint_note(shown, element)}"
    pointer = f"<p>Hold the pointer over a {element} to see which.</p>" if shown[0].names else ""
    return [Section("Where the model activates", intro + pointer + "".join(blocks), images)]


def excerpt(file: TextFile, model: nn.Module, tokenizer: Tokenizer) -> tuple[list[str], ActivationMap]:
    """The characters or tokens of some lines of a file, and what each activated, on its first byte."""
    content = next(file.blocks(HEAD), b"")
    start = content.rfind(b"\n", 0, min(LEAD, len(content) // 2)) + 1
    end = start
    for _ in range(LINES):
        end = content.find(b"\n", end) + 1 or len(content)
    end = min(end, start + LINES * COLUMNS)
    before, text = tokenizer.encode(content[:start]), content[start:end]
    if isinstance(tokenizer, Bytes):
        read = tokenizer.encode(text)
        shown = [character for character, _ in characters(text)]
        places = np.cumsum([0, *(size for _, size in characters(text))])[:-1]
    else:
        read, shown = tokenizer.pieces(text)
        places = np.arange(len(read))
    found = activations(model, np.concatenate((before, read)), tokenizer.separator)
    shown = [piece.replace("\0", "\n") for piece in shown]  # between documents
    return shown, found[(len(before) + places).tolist()]


def activations(model: nn.Module, tokens: NDArray[Any], separator: int) -> ActivationMap:
    """The activations on reading each token of a file."""
    device = next(model.parameters()).device
    inputs = torch.tensor([[separator, *tokens.tolist()]], device=device)
    with evaluating(model), torch.no_grad(), sma.record() as recording:
        model(inputs)
    if not recording.layers:
        return ActivationMap.none(len(tokens))
    return ActivationMap.of(recording)[1:]


def characters(content: bytes) -> list[tuple[str, int]]:
    """The characters of UTF-8 text with their sizes in bytes; where it is not UTF-8, bytes one by one."""
    try:
        return [(character, len(character.encode())) for character in content.decode()]
    except UnicodeDecodeError:
        return [(character, 1) for character in content.decode("latin-1")]
