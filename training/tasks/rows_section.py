"""Which classes are confused, and on which elements of a row a model activates."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import sma
from sma.plots import ActivationMap, draw_images, draw_layers, legend_html, text_html
from sma.training.figures import draw_confusion, to_png
from sma.training.tasks.running import evaluating
from sma.training.tasks.section import Image, Section
from sma.training.tasks.task import Batch

if TYPE_CHECKING:
    from sma.training.tasks.rows import RowsTask

N_SHOWN = 20
LONGEST = 2500
"""Elements of a row that a page shows as text."""


def rows_sections(task: "RowsTask", model: nn.Module) -> list[Section]:
    """The confusion matrix, and two test rows of each class with their activation counts.

    Args:
        task: whose test rows are shown.
        model: gives scores of its batches.
    """
    return [_confusions(task, model), _examples(task, model)]


def _confusions(task: "RowsTask", model: nn.Module) -> Section:
    matrix = torch.zeros(task.n_classes, task.n_classes, dtype=torch.long)
    like = next(model.parameters())
    with evaluating(model), torch.no_grad():
        for batch in task.evaluation_batches("test", 32):
            answers = batch.to(like).scores(model).argmax(-1).cpu()
            matrix.index_put_((batch.targets, answers), torch.ones_like(answers), accumulate=True)
    right, n = int(matrix.diagonal().sum()), int(matrix.sum())
    image = Image(
        "confusion.png",
        "What was shown against what the model said",
        draw_confusion(matrix.tolist(), task.classes),
    )
    return Section("Confusions", f"<p>{right:,} of {n:,} held-out {task.unit}s are right.</p>", [image])


def _examples(task: "RowsTask", model: nn.Module) -> Section:
    rows = task.splits["test"]
    per_class = max(min(2, N_SHOWN // task.n_classes), 1)
    labels = torch.from_numpy(rows.labels)
    chosen = [int(i) for label in range(task.n_classes) for i in (labels == label).nonzero()[:per_class]]
    chosen = chosen[:N_SHOWN]
    read = [read_rows(model, rows.batch([i])) for i in chosen]
    answers, found = [int(answer) for answer, _ in read], [maps[0] for _, maps in read]
    titles = [_title(task, int(labels[i]), answer) for i, answer in zip(chosen, answers, strict=True)]
    highest = found[0].highest
    mean = sum(int(each.counts.sum()) for each in found) / (sum(map(len, found)) * highest)
    intro = (
        f"<p>Test {task.unit}s, tinted by how many of {highest} routed sub-modules activated on each "
        f"element: white for none, darkest for all. On average {mean:.0%} did.</p>{legend_html(highest)}"
    )
    values = [rows.row(i) for i in chosen]
    if task.side is not None:
        pixels = torch.stack([torch.from_numpy(v.reshape(task.side, task.side).astype("f4")) for v in values])
        png = to_png(draw_images(pixels / rows.scale, found, titles=titles))
        return Section("Where the model attends", intro, [Image("tinted_images.png", "Test images", png)])
    body, images = [intro], []
    for number, (title, each) in enumerate(zip(titles, found, strict=True), 1):
        if task.names is not None:
            words = [f"{task.names[int(token)]}" for token in values[number - 1][:LONGEST]]
            body.append(f"<h3>{html.escape(title)}</h3>{text_html(words, each[: len(words)])}")
        elif number <= 4:
            png = to_png(draw_layers(each))
            images.append(Image(f"layers_{number}.png", f"{title}, layer by layer", png))
    return Section("Where the model attends", "".join(body), images)


def _title(task: "RowsTask", label: int, answer: int) -> str:
    shown = task.classes[label]
    return shown if answer == label else f"{shown} as {task.classes[answer]}"


def read_rows(model: nn.Module, batch: Batch) -> tuple[Tensor, Sequence[ActivationMap]]:
    """The model's answers `(B,)`, and what the elements of each row activated."""
    batch = batch.to(next(model.parameters()))
    with evaluating(model), torch.no_grad(), sma.record() as recording:
        answers = batch.scores(model).argmax(-1).cpu()
    if not recording.layers:
        lengths = [batch.inputs.shape[1]] * len(answers) if batch.mask is None else batch.mask.sum(1).tolist()
        return answers, [ActivationMap.none(n) for n in lengths]
    return answers, [ActivationMap.of(recording, i) for i in range(len(answers))]
