"""Speech Commands (https://arxiv.org/abs/1804.03209): which of ten words a second of raw audio says."""

import wave
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from sma import register
from sma.lazy import needs
from sma.training.generators.chunks import Chunk
from sma.training.tasks.published.base import FileLayout, PublishedSpec, rows_of
from sma.training.tasks.rows_task import RowsTask

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
RATE = 16_000
PER_PART = 200
TENSORS = {"training": "train", "validation": "val", "test": "test"}


@register
class SpeechCommandsSpec(PublishedSpec):
    """The ten words of SC10: a folder of .wav files per word, or the published preparation's tensors.

    Recordings that are not exactly a second long are left out. Of the others 70, 15 and 15 % are training,
    validation and test data, as in the published preparation. Samples are normalised by mean and deviation of
    the training data.
    """

    kind: Literal["speech_commands"] = "speech_commands"

    @override
    def layouts(self) -> Sequence[FileLayout]:
        tensors = [f"processed_data/raw/{name}_{part}.pt" for name in TENSORS.values() for part in "Xy"]
        return [
            FileLayout("the original archive's", list(WORDS), self._read),
            FileLayout("the published preparation's", tensors, self._read_prepared),
        ]

    def _read(self, split: str, root: Path) -> Iterator[Chunk]:
        paths, labels = _recordings(root)
        splits = _split(len(paths), labels)
        mean, deviation = _statistics(paths[i] for i in splits["training"])
        chosen = splits[split]
        for start in range(0, len(chosen), PER_PART):
            part = chosen[start : start + PER_PART]
            yield _part(np.stack([(read_wave(paths[i]) - mean) / deviation for i in part]), labels[part])

    def _read_prepared(self, split: str, root: Path) -> Iterator[Chunk]:
        name = TENSORS[split]
        try:
            x, y = (
                torch.load(
                    root / f"processed_data/raw/{name}_{part}.pt", weights_only=True, map_location="cpu"
                )
                for part in "Xy"
            )
            samples, labels = x.reshape(len(x), RATE).float().numpy(), y.long().numpy()
        except Exception as error:  # whatever a damaged file makes torch raise
            raise ValueError(
                f"{root}/processed_data/raw/{name}_X.pt or _y.pt is damaged ({error}); copy both"
            ) from error
        for start in range(0, len(samples), PER_PART):
            part = slice(start, start + PER_PART)
            yield _part(samples[part], labels[part])

    @override
    def task(self, splits: Mapping[str, Chunk], facts: Mapping[str, str]) -> RowsTask:
        return RowsTask(
            {split: rows_of(arrays, "samples") for split, arrays in splits.items()},
            title="Speech Commands, ten words: a second of raw audio at 16 kHz",
            facts=facts,
            classes=WORDS,
            unit="recording",
        )


def _recordings(root: Path) -> tuple[list[Path], NDArray[np.int64]]:
    paths: list[Path] = []
    labels: list[int] = []
    for label, word in enumerate(WORDS):
        found = [path for path in sorted((root / word).glob("*.wav")) if len(read_wave(path)) == RATE]
        if len(found) < 7:
            raise ValueError(
                f"{root / word} holds {len(found)} recordings of a second, too few to split; copy the data "
                "again"
            )
        paths += found
        labels += [label] * len(found)
    return paths, np.array(labels)


def _split(n: int, labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    with needs("tasks", "the split of Speech Commands"):
        from sklearn.model_selection import train_test_split

    training, rest = train_test_split(np.arange(n), train_size=0.7, random_state=0, stratify=labels)
    validation, test = train_test_split(rest, train_size=0.5, random_state=1, stratify=labels[rest])
    return {"training": training, "validation": validation, "test": test}


def read_wave(path: Path) -> NDArray[np.float32]:
    """The samples of a .wav file of one channel with 16 bits, in [-1, 1).

    Raises:
        ValueError: if it is damaged or of another format.
    """
    try:
        with wave.open(str(path), "rb") as file:
            kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a .wav file that can be read ({error}); copy it again") from error
    if kind != (1, 2, RATE):
        raise ValueError(
            f"{path} has {kind[0]} channels of {8 * kind[1]} bits at {kind[2]} Hz instead of 1 of 16 bits at "
            f"{RATE} Hz"
        )
    return np.frombuffer(content, "<i2").astype(np.float32) / np.float32(2**15)


def _statistics(paths: Iterator[Path]) -> tuple[float, float]:
    """Mean and standard deviation of all samples."""
    n, total, squares = 0, 0.0, 0.0
    for path in paths:
        samples = read_wave(path).astype(np.float64)
        n, total, squares = n + samples.size, total + samples.sum(), squares + (samples**2).sum()
    mean = total / n
    return mean, float(np.sqrt(max(squares - n * mean**2, 0.0) / (n - 1))) + 1e-5


def _part(samples: NDArray[np.float32], labels: NDArray[np.int64]) -> Chunk:
    return {
        "samples": samples.astype(np.float32).reshape(-1, 1),
        "ends": np.arange(1, len(samples) + 1) * samples.shape[1],
        "labels": labels,
    }
