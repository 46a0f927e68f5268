"""Handwritten digits as sequences of 64 pixels: scikit-learn's copy of the UCI digits."""

import hashlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from sma import register
from sma.training.tasks.section import Section
from sma.training.tasks.task import Batch, Evaluation, Split, Task, TaskSpec

N_CLASSES = 10
SIDE = 8


class DigitsTask(Task):
    """Say which digit a sequence of pixels shows, read line by line.

    Within each class, in the order of the data set: every fifth image is test data, and of the rest every
    tenth is validation data.

    Args:
        images: `(n, 64)` float, pixels in [0, 1].
        labels: `(n,)` long.
        facts: about the data.
    """

    title = "1,797 handwritten digits of 8 x 8 pixels (scikit-learn's load_digits)"
    n_classes = N_CLASSES
    unit = "image"
    headline = "accuracy"

    def __init__(self, images: Tensor, labels: Tensor, *, facts: dict[str, str]) -> None:
        rank = torch.zeros_like(labels)
        for digit in range(N_CLASSES):
            rank[labels == digit] = torch.arange(int((labels == digit).sum()))
        test = rank % 5 == 4
        validation = ~test & ((rank - rank // 5) % 10 == 9)
        chosen = {"training": ~(test | validation), "validation": validation, "test": test}
        self.splits = {name: (images[rows], labels[rows]) for name, rows in chosen.items()}
        self.facts = {
            **facts,
            **{f"{name} data": f"{len(part[1]):,} images" for name, part in self.splits.items()},
            "split": "per class, every fifth image is test; writers are not kept apart",
        }

    @override
    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        images, labels = self.splits["training"]
        rows = torch.randint(len(labels), (batch_size,), generator=generator)
        return Batch(images[rows].unsqueeze(-1), labels[rows])

    @override
    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        images, labels = self.splits[split]
        for start in range(0, len(labels), batch_size):
            rows = slice(start, start + batch_size)
            yield Batch(images[rows].unsqueeze(-1), labels[rows])

    @override
    def baselines(self) -> dict[str, float]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        training, test = ([part.numpy() for part in self.splits[name]] for name in ("training", "test"))
        most_common = np.bincount(training[1]).argmax()
        classifiers = {
            "logistic regression": LogisticRegression(max_iter=1000),
            "3 nearest neighbours": KNeighborsClassifier(3),
        }
        return {
            "always the most common digit": float((test[1] == most_common).mean()),
            **{name: float(c.fit(*training).score(*test)) for name, c in classifiers.items()},
        }

    @override
    def sections(self, model: nn.Module, test: Evaluation) -> list[Section]:
        """Confusions, and images tinted by activations."""
        from sma.training.tasks.digits_section import digits_sections

        return digits_sections(*self.splits["test"], model)


@register
class DigitsSpec(TaskSpec):
    """scikit-learn's digits."""

    kind: Literal["digits"] = "digits"

    @override
    def build(self) -> DigitsTask:
        import sklearn
        from sklearn.datasets import load_digits

        data = load_digits()
        images = torch.from_numpy(data.data).float() / 16
        digest = hashlib.sha256(data.data.astype("<f8").tobytes() + data.target.astype("<i8").tobytes())
        facts = {"scikit-learn": sklearn.__version__, "SHA-256 of images and labels": digest.hexdigest()}
        return DigitsTask(images, torch.from_numpy(data.target).long(), facts=facts)
