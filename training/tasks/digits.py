"""Handwritten digits as sequences of 64 pixels: scikit-learn's copy of the UCI digits."""

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sma import register
from sma.lazy import needs
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.task import TaskSpec

N_CLASSES = 10
SIDE = 8


@register
class DigitsSpec(TaskSpec):
    """scikit-learn's digits, read line by line.

    Within each class, in the order of the data set: every fifth image is test data, and of the rest every
    tenth is validation data.
    """

    kind: Literal["digits"] = "digits"

    @override
    def build(self) -> RowsTask:
        with needs("tasks", "the task digits"):
            import sklearn
            from sklearn.datasets import load_digits

        data = load_digits()
        digest = hashlib.sha256(data.data.astype("<f8").tobytes() + data.target.astype("<i8").tobytes())
        return RowsTask(
            {name: _rows(data.data[part], data.target[part]) for name, part in _split(data.target).items()},
            title="1,797 handwritten digits of 8 x 8 pixels (scikit-learn's load_digits)",
            facts={
                "scikit-learn": sklearn.__version__,
                "SHA-256 of images and labels": digest.hexdigest(),
                "split": "per class, every fifth image is test; writers are not kept apart",
            },
            classes=[str(digit) for digit in range(N_CLASSES)],
            unit="image",
            side=SIDE,
            role_names=("background", "digit"),
        )


def _split(labels: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    rank = np.zeros_like(labels)
    for digit in range(N_CLASSES):
        rank[labels == digit] = np.arange((labels == digit).sum())
    test = rank % 5 == 4
    validation = ~test & ((rank - rank // 5) % 10 == 9)
    return {"training": ~(test | validation), "validation": validation, "test": test}


def _rows(images: NDArray[np.float64], labels: NDArray[np.int64]) -> Rows:
    ends = np.arange(1, len(labels) + 1) * SIDE**2
    pixels = images.astype(np.uint8).reshape(-1, 1)
    return Rows(pixels, ends, labels.astype(np.int64), scale=16, roles=(pixels[:, 0] > 0).view(np.uint8))
