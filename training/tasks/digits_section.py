"""Which digits are confused, and on which pixels a model activates."""

import torch
from torch import Tensor, nn

import sma
from sma.plots import ActivationMap, draw_images, legend_html
from sma.training.figures import draw_confusion, to_png
from sma.training.tasks.running import evaluating
from sma.training.tasks.section import Image, Section

N_CLASSES = 10


def digits_sections(images: Tensor, labels: Tensor, model: nn.Module) -> list[Section]:
    """The confusion matrix, and two images of each digit with their activation counts.

    Args:
        images: `(n, L)` float, test images.
        labels: `(n,)` long, 0 to 9, each at least twice.
        model: gives scores of `(B, L, 1)`.
    """
    answers, found = read_digits(model, images)
    highest = found[0].highest
    matrix = torch.zeros(N_CLASSES, N_CLASSES, dtype=torch.long)
    matrix.index_put_((labels, answers), torch.ones_like(labels), accumulate=True)
    wrong = int((answers != labels).sum())
    shown = [
        int(row) for n in range(2) for digit in range(N_CLASSES) for row in (labels == digit).nonzero()[n]
    ]
    side = int(images.shape[1] ** 0.5)
    pictures = images.view(-1, side, side)
    titles = [
        f"{int(labels[i])}" if answers[i] == labels[i] else f"{int(labels[i])} as {int(answers[i])}"
        for i in shown
    ]
    tinted = draw_images(pictures[shown], [found[i] for i in shown], titles=titles)
    mean = sum(int(each.counts.sum()) for each in found) / (images.numel() * highest)
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
            [Image("tinted_digits.png", "Two test images of each digit", to_png(tinted))],
        ),
    ]


def read_digits(model: nn.Module, images: Tensor) -> tuple[Tensor, list[ActivationMap]]:
    """The model's answers, and what the pixels of each image activated."""
    like = next(model.parameters())
    with evaluating(model), torch.no_grad(), sma.record() as recording:
        answers = model(images.unsqueeze(-1).to(like)).argmax(-1).cpu()
    if not recording.layers:
        return answers, [ActivationMap.none(images.shape[1])] * len(images)
    return answers, [ActivationMap.of(recording, i) for i in range(len(images))]
