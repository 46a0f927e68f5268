"""Image and Pathfinder of the Long Range Arena (https://arxiv.org/abs/2011.04006): grey pixels."""

import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from sma import register
from sma.lazy import needs
from sma.training.generators.chunks import Chunk
from sma.training.tasks.published.base import FileLayout, PublishedSpec, rows_of
from sma.training.tasks.published.long_range_arena import PREPARED
from sma.training.tasks.rows_task import RowsTask

SEED = 42
"""Of the split that the published preparation makes."""
PER_PART = 500
PREPARED_FILES = [
    f"{folder}/{split}.{end}"
    for split in PREPARED.values()
    for folder, end in (("input", "src"), ("label", "label"))
]


def split_of(n: int, n_validation: int, n_test: int, split: str) -> NDArray[np.int64]:
    """The places of a split's items among n, as the published preparation deals them out."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(SEED)).numpy()
    n_training = n - n_validation - n_test
    cuts = {"training": (0, n_training), "validation": (n_training, n - n_test), "test": (n - n_test, n)}
    return order[slice(*cuts[split])]


def pixels_part(images: Sequence[NDArray[np.uint8]], labels: Sequence[int]) -> Chunk:
    """Images as rows, every pixel an element with one feature."""
    return {
        "pixels": np.concatenate([image.reshape(-1, 1) for image in images]),
        "ends": np.cumsum([image.size for image in images], dtype=np.int64),
        "labels": np.array(labels, np.int64),
    }


def read_prepared(split: str, root: Path, *, side: int, n_classes: int) -> Iterator[Chunk]:
    """A split of the published preparation: a line of pixels per image, and a line per label.

    Raises:
        ValueError: if a line is damaged, or there are more labels, or fewer, than images.
    """
    source, target = root / f"input/{PREPARED[split]}.src", root / f"label/{PREPARED[split]}.label"
    labels = target.read_text().split()
    images: list[NDArray[np.uint8]] = []
    done = 0
    with source.open() as file:
        for number, line in enumerate(file, 1):
            try:
                image = np.array(line.split(), np.int64)
                label = int(labels[number - 1])
            except (ValueError, IndexError) as error:
                raise ValueError(
                    f"line {number} of {source} or {target} is damaged ({error}); copy them again"
                ) from error
            if image.size != side**2 or image.min() < 0 or image.max() > 255 or not 0 <= label < n_classes:
                raise ValueError(
                    f"line {number} of {source} is not {side} x {side} pixels from 0 to 255, or its label "
                    f"{label} is not below {n_classes}; copy the files again"
                )
            images.append(image.astype(np.uint8))
            if len(images) == PER_PART:
                yield pixels_part(images, [int(label) for label in labels[done:number]])
                images, done = [], number
    if len(labels) != done + len(images):
        raise ValueError(
            f"{target} has {len(labels):,} labels for {done + len(images):,} images; copy both again"
        )
    if images:
        yield pixels_part(images, [int(label) for label in labels[done:]])


@register
class LRAImageSpec(PublishedSpec):
    """Image: CIFAR-10 in grey, `cifar-10-batches-bin`, `cifar-10-batches-py`, or the published preparation.

    Every tenth of the training images, chosen as in the published preparation, is validation data.
    """

    kind: Literal["lra_image"] = "lra_image"

    @override
    def layouts(self) -> Sequence[FileLayout]:
        names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
        return [
            FileLayout(
                "CIFAR-10's, binary",
                [f"cifar-10-batches-bin/{name}.bin" for name in names],
                self._read_binary,
            ),
            FileLayout(
                "CIFAR-10's, Python", [f"cifar-10-batches-py/{name}" for name in names], self._read_python
            ),
            FileLayout("the published preparation's", PREPARED_FILES, self._read_prepared),
        ]

    def _read_prepared(self, split: str, root: Path) -> Iterator[Chunk]:
        return read_prepared(split, root, side=32, n_classes=10)

    def _read_binary(self, split: str, root: Path) -> Iterator[Chunk]:
        return _grey(split, root / "cifar-10-batches-bin", ".bin", _binary_batch)

    def _read_python(self, split: str, root: Path) -> Iterator[Chunk]:
        return _grey(split, root / "cifar-10-batches-py", "", _python_batch)

    @override
    def task(self, splits: Mapping[str, Chunk], facts: Mapping[str, str]) -> RowsTask:
        return RowsTask(
            {split: rows_of(arrays, "pixels", scale=255) for split, arrays in splits.items()},
            title="Image of the Long Range Arena: CIFAR-10 in grey, pixel by pixel",
            facts=facts,
            classes=("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            unit="image",
            side=32,
        )


def _grey(split: str, folder: Path, end: str, read: Any) -> Iterator[Chunk]:
    names = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    batches = [read(folder / f"{name}{end}") for name in names]
    labels = np.concatenate([batch[0] for batch in batches])
    colors = np.concatenate([batch[1] for batch in batches]).reshape(-1, 3, 1024).astype(np.uint32)
    if (labels > 9).any():
        raise ValueError(f"{folder} holds a label above 9; copy it again")
    red, green, blue = colors.transpose(1, 0, 2)
    grey = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(
        np.uint8
    )  # ITU-R 601, as Pillow
    order = np.arange(len(grey)) if split == "test" else split_of(len(grey), len(grey) // 10, 0, split)
    for start in range(0, len(order), PER_PART):
        chosen = order[start : start + PER_PART]
        yield pixels_part(list(grey[chosen]), labels[chosen].tolist())


def _binary_batch(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    content = np.fromfile(path, np.uint8)
    if content.size == 0 or content.size % 3073:
        raise ValueError(
            f"{path} is damaged ({content.size:,} bytes are not records of 3,073); copy it again"
        )
    records = content.reshape(-1, 3073)
    return records[:, 0].astype(np.int64), records[:, 1:]


def _python_batch(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        values = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        labels, colors = np.array(values[b"labels"], np.int64), values[b"data"]
        if colors.shape != (len(labels), 3072) or colors.dtype != np.uint8:
            raise ValueError(f"data of shape {colors.shape}")
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        raise ValueError(f"{path} is damaged ({error}); copy it again") from error
    return labels, colors


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, numbers and text; what could run code is refused."""

    @override
    def find_class(self, module: str, name: str) -> Any:
        allowed = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
        if (module, name) in allowed or (module.startswith("numpy.") and name in ("_reconstruct", "scalar")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")


@register
class LRAPathfinderSpec(PublishedSpec):
    """Pathfinder (32) and Path-X (128): the original archive, or the published preparation.

    A tenth each, chosen as in the published preparation, is validation and test data.

    Attributes:
        side: of the square images.
        difficulty: the folder of the archive: the curves' length.
    """

    kind: Literal["lra_pathfinder"] = "lra_pathfinder"
    side: Literal[32, 64, 128, 256] = 32
    difficulty: Literal["curv_baseline", "curv_contour_length_9", "curv_contour_length_14"] = (
        "curv_contour_length_14"
    )

    @override
    def layouts(self) -> Sequence[FileLayout]:
        archive = [f"pathfinder{self.side}/{self.difficulty}/{name}" for name in ("metadata", "imgs")]
        return [
            FileLayout("the original archive's", archive, self._read),
            FileLayout("the published preparation's", PREPARED_FILES, self._read_prepared),
        ]

    def _read_prepared(self, split: str, root: Path) -> Iterator[Chunk]:
        return read_prepared(split, root, side=self.side, n_classes=2)

    def _read(self, split: str, root: Path) -> Iterator[Chunk]:
        folder = root / f"pathfinder{self.side}" / self.difficulty
        samples = _samples(folder)
        tenth = len(samples) // 10
        order = split_of(len(samples), tenth, tenth, split)
        for start in range(0, len(order), PER_PART):
            chosen = [samples[i] for i in order[start : start + PER_PART]]
            yield pixels_part(
                [_read_png(path, self.side) for path, _ in chosen], [label for _, label in chosen]
            )

    @override
    def task(self, splits: Mapping[str, Chunk], facts: Mapping[str, str]) -> RowsTask:
        return RowsTask(
            {split: rows_of(arrays, "pixels", scale=255) for split, arrays in splits.items()},
            title=f"Pathfinder of the Long Range Arena, {self.side} x {self.side} pixels",
            facts=facts,
            classes=["two curves", "one curve"],
            unit="image",
            side=self.side,
        )


def _samples(folder: Path) -> list[tuple[Path, int]]:
    """Path and label of every image, in the order of the metadata."""
    found = []
    for path in sorted((folder / "metadata").glob("*.npy"), key=lambda path: (len(path.stem), path.stem)):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            words = line.split()
            if len(words) < 4 or words[3] not in ("0", "1"):
                raise ValueError(
                    f"line {number} of {path} does not name an image and its label; copy it again"
                )
            found.append((folder / words[0] / words[1], int(words[3])))
    if len(found) < 10:
        raise ValueError(
            f"{folder}/metadata names {len(found)} images, too few to split; copy the data again"
        )
    return found


def _read_png(path: Path, side: int) -> NDArray[np.uint8]:
    with needs("tasks", str(path)):
        from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is missing or not an image ({error}); copy it again") from error
    if pixels.shape != (side, side):
        raise ValueError(
            f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels instead of {side} x {side}"
        )
    return pixels
