"""Which digits are confused, and on which pixels a model activates."""

from typing import TYPE_CHECKING

import torch
from torch import nn

import sma
from sma.training.evaluation import Evaluation, evaluating
from sma.training.plots import draw_confusion, draw_digits, legend_html
from sma.training.report import Image, Section

if TYPE_CHECKING:
    from sma.training.digits import DigitsTask


def digits_sections(task: "DigitsTask", model: nn.Module, test: Evaluation) -> list[Section]:
    """The confusion matrix, and two test images of each digit with their activation counts."""
    images, labels = task.splits["test"]
    answers, counts, highest = read_digits(model, images)
    matrix = torch.zeros(task.n_classes, task.n_classes, dtype=torch.long)
    matrix.index_put_((labels, answers), torch.ones_like(labels), accumulate=True)
    wrong = int((answers != labels).sum())
    shown = [int(row) for n in range(2) for digit in range(10) for row in (labels == digit).nonzero()[n]]
    side = int(images.shape[1] ** 0.5)
    pictures = images.view(-1, side, side)
    titles = [
        f"{int(labels[i])}" if answers[i] == labels[i] else f"{int(labels[i])} as {int(answers[i])}"
        for i in shown
    ]
    tinted = draw_digits(
        [pictures[i].tolist() for i in shown],
        [counts[i].view(side, side).tolist() for i in shown],
        titles,
        highest,
    )
    mean = counts.float().mean() / highest
    return [
        Section(
            "Confusions",
            f"<p>{len(labels) - wrong} of {len(labels)} held-out images read correctly.</p>",
            [
                Image(
                    "confusion.png",
                    "What was shown against what the model said",
                    draw_confusion(matrix.tolist()),
                )
            ],
        ),
        Section(
            "Where the model attends",
            f"<p>Test images, and below each one how many of {highest} layers activated their attention on "
            f"each pixel: white for none, darkest for all. On average {mean:.0%} did.</p>"
            f"{legend_html(highest)}",
            [Image("tinted_digits.png", "Two test images of each digit", tinted)],
        ),
    ]


def read_digits(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The model's answers, how many sub-modules activated on each pixel, and how many there are."""
    like = next(model.parameters())
    with evaluating(model), torch.no_grad(), sma.record() as recording:
        answers = model(images.unsqueeze(-1).to(like)).argmax(-1).cpu()
    layers = [layer.routing.active for layer in recording.layers]
    if not layers:
        return answers, torch.zeros(images.shape, dtype=torch.long), 1
    active = torch.cat(layers, -1).cpu()
    return answers, active.sum(-1), active.shape[-1]
