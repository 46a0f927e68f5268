"""Fashion-MNIST (https://arxiv.org/abs/1708.07747): what an article of clothing is, pixel by pixel."""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from sma import register
from sma.architectures.files.reading import expanded
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.standins.installed import debian_path
from sma.training.tasks.task import TaskSpec

FOLDER = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"
CLASSES = (
    *("T-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "trainer", "bag", "ankle boot"),
)
SIDE = 28
N_VALIDATION, N_TEST = 5_000, 10_000


@register
class FashionMNISTSpec(TaskSpec):
    """Zalando's 70,000 grey images of clothing, line by line, as Debian's dataset-fashion-mnist holds them.

    The last 5,000 of the 60,000 training images are validation data.

    Attributes:
        side: of the square images: 28, or 14 for means of 2 x 2 pixels.
        n_validation: the first so many images of the validation split.
        n_test: the first so many images of the test split.
        folder: of the four files in IDX format, with gzip.
    """

    kind: Literal["fashion_mnist"] = "fashion_mnist"
    side: Literal[28, 14] = 28
    n_validation: Annotated[int, Field(ge=1, le=N_VALIDATION)] = N_VALIDATION
    n_test: Annotated[int, Field(ge=1, le=N_TEST)] = N_TEST
    folder: Annotated[str, Field(min_length=1)] = str(FOLDER)

    @override
    def build(self) -> RowsTask:
        root = expanded(self.folder, field="task.folder")
        (images, labels), (test_images, test_labels) = (read_set(root, name) for name in ("train", "t10k"))
        digest = hashlib.sha256()
        for array in (images, labels, test_images, test_labels):
            digest.update(array.tobytes())
        cut = len(images) - len(images) // 12  # the last 5,000 of 60,000
        held_out = slice(cut, cut + self.n_validation)
        return RowsTask(
            {
                "training": self._rows(images[:cut], labels[:cut]),
                "validation": self._rows(images[held_out], labels[held_out]),
                "test": self._rows(test_images[: self.n_test], test_labels[: self.n_test]),
            },
            title=f"Fashion-MNIST: clothing in {self.side} x {self.side} grey pixels",
            facts={
                "package": f"Debian {PACKAGE}",
                "images": "as they are" if self.side == SIDE else "means of 2 x 2 pixels",
                "split": "the published one; the last twelfth of the training images is validation data",
                "SHA-256 of images and labels": digest.hexdigest(),
            },
            classes=CLASSES,
            unit="image",
            side=self.side,
            role_names=("background", "clothing"),
        )

    def _rows(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Rows:
        if self.side != SIDE:
            blocks = images.reshape(-1, self.side, 2, self.side, 2).mean((2, 4), dtype=np.float32)
            images = blocks.round().astype(np.uint8)
        pixels = images.reshape(-1, 1)
        ends = np.arange(1, len(labels) + 1) * self.side**2
        roles = (pixels[:, 0] > 0).view(np.uint8)
        return Rows(pixels, ends, labels.astype(np.int64), scale=255, roles=roles)


def read_set(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images `(n, 28, 28)` and labels `(n,)` of `train` or `t10k`.

    Raises:
        ValueError: if a file is missing or damaged, or the two do not belong together.
    """
    paths = [folder / f"{name}-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1")]
    images, labels = (read_idx(debian_path(path, PACKAGE)) for path in paths)
    if images.shape != (len(labels), SIDE, SIDE) or labels.ndim != 1 or (labels >= len(CLASSES)).any():
        raise ValueError(
            f"{paths[0]} of shape {images.shape} and {paths[1]} of shape {labels.shape} are not images of "
            f"{SIDE} x {SIDE} pixels and their labels below {len(CLASSES)}; install {PACKAGE} anew"
        )
    return images, labels


def read_idx(path: Path) -> NDArray[Any]:
    """The bytes of a gzipped file in the IDX format: two zeros, type, rank, sizes (big-endian), values.

    Raises:
        ValueError: if it is damaged or holds something other than bytes.
    """
    try:
        content = gzip.decompress(path.read_bytes())
        if content[:3] != b"\0\0\x08":
            raise ValueError("it does not begin as an IDX file of bytes")
        start = 4 + 4 * content[3]
        return np.frombuffer(content, np.uint8, offset=start).reshape(np.frombuffer(content[4:start], ">u4"))
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise ValueError(f"{path} is damaged ({error}); install {PACKAGE} anew") from error
