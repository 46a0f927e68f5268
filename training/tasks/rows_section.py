"""The report's sections on classified rows: the confusion matrix, and rows tinted by activation."""

from collections.abc import Sequence

import torch
from markupsafe import Markup
from torch import Tensor, nn

import sma
from sma.plots import ActivationMap, draw_images, draw_layers, text_html
from sma.training.figures import draw_confusion, to_png
from sma.training.tasks.rows import RowPairs, Rows, by_length
from sma.training.tasks.running import evaluating
from sma.training.tasks.section import Image, Section, tint_note
from sma.training.tasks.task import Batch

N_SHOWN = 20
LONGEST = 2500
"""Elements of a row that a page shows as text."""


def rows_sections(
    test: Rows | RowPairs,
    model: nn.Module,
    *,
    classes: Sequence[str],
    unit: str,
    names: Sequence[str] | None,
    side: int | None,
) -> list[Section]:
    """The confusion matrix, and two test rows of each class with their activation counts.

    Args:
        test: the rows.
        model: gives scores of their batches.
        classes: the name of each class.
        unit: what one row is called.
        names: of tokens; None where rows are features.
        side: of square images, whose rows are pixels line by line; None where they are something else.
    """
    confusions = _confusions(test, model, classes, unit)
    if isinstance(test, RowPairs):
        return [confusions]
    return [confusions, _examples(test, model, classes, unit, names, side)]


def _confusions(test: Rows | RowPairs, model: nn.Module, classes: Sequence[str], unit: str) -> Section:
    matrix = torch.zeros(len(classes), len(classes), dtype=torch.long)
    like = next(model.parameters())
    with evaluating(model), torch.no_grad():
        for batch in by_length(test, 32):
            answers = batch.to(like).scores(model).argmax(-1).cpu()
            matrix.index_put_((batch.targets, answers), torch.ones_like(answers), accumulate=True)
    right, n = int(matrix.diagonal().sum()), int(matrix.sum())
    png = draw_confusion(matrix.tolist(), classes)
    image = Image("confusion.png", "True classes (rows) against the model's answers (columns)", png)
    return Section("Confusions", f"<p>{right:,} of {n:,} held-out {unit}s are right.</p>", [image])


def _examples(
    test: Rows,
    model: nn.Module,
    classes: Sequence[str],
    unit: str,
    names: Sequence[str] | None,
    side: int | None,
) -> Section:
    chosen = _two_of_each(torch.from_numpy(test.labels), len(classes))
    read = [read_rows(model, test.batch([i])) for i in chosen]
    found = [maps[0] for _, maps in read]
    titles = [
        classes[label] if answer == label else f"{classes[label]} as {classes[answer]}"
        for label, answer in (
            (int(test.labels[i]), int(answers)) for i, (answers, _) in zip(chosen, read, strict=True)
        )
    ]
    element = "pixel" if side is not None else "token" if names is not None else "element"
    values = [test.row(i) for i in chosen]
    body, images = [f"<p>Held-out {unit}s.</p>{tint_note(found, element)}"], []
    if side is not None:
        pixels = torch.stack([torch.from_numpy(row.reshape(side, side).astype("f4")) for row in values])
        png = to_png(draw_images(found, pixels / test.scale, titles=titles))
        images.append(Image("tinted_images.png", "Test images", png))
    elif names is not None:
        for title, row, each in zip(titles, values, found, strict=True):
            words = [names[int(token)] for token in row[:LONGEST]]
            body.append(Markup("<h3>{}</h3>").format(title) + Markup(text_html(each[: len(words)], words)))
    else:
        for number, (title, each) in enumerate(zip(titles[:4], found, strict=False), 1):
            png = to_png(draw_layers(each))
            images.append(Image(f"layers_{number}.png", f"{title}, layer by layer", png))
    return Section("Where the model activates", "".join(body), images)


def _two_of_each(labels: Tensor, n_classes: int) -> list[int]:
    """Two rows of each class, or fewer where there are many classes."""
    per_class = max(min(2, N_SHOWN // n_classes), 1)
    chosen = [int(i) for label in range(n_classes) for i in (labels == label).nonzero()[:per_class]]
    return chosen[:N_SHOWN]


def read_rows(model: nn.Module, batch: Batch) -> tuple[Tensor, Sequence[ActivationMap]]:
    """The model's answers `(B,)`, and what the elements of each row activated."""
    batch = batch.to(next(model.parameters()))
    with evaluating(model), torch.no_grad(), sma.record() as recording:
        answers = batch.scores(model).argmax(-1).cpu()
    if not recording.layers:
        return answers, [ActivationMap.none(n) for n in _n_real(batch, len(answers))]
    return answers, [ActivationMap.of(recording, i) for i in range(len(answers))]


def _n_real(batch: Batch, n_rows: int) -> list[int]:
    if isinstance(batch.mask, Tensor):
        return batch.mask.sum(1).tolist()
    return [batch.n_elements // n_rows] * n_rows
