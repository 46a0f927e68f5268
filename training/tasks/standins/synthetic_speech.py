"""Synthetic speech: which of ten words a voice of eSpeak NG says, from raw audio."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from sma import register
from sma.training.generators.cache import cached, load_arrays, save_rows
from sma.training.generators.chunks import Chunk
from sma.training.generators.espeak import Speech, clips, voices
from sma.training.tasks.published.speech import WORDS
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.standins.installed import python_package
from sma.training.tasks.task import TaskSpec

PACKAGE = "espeakng-loader"
LIBRARIES = ("libespeak-ng.so", "libespeak-ng.dylib", "espeak-ng.dll")
SHARES = {"validation": 0.15, "test": 0.15}
"""Of the voices."""

Rates = Annotated[tuple[Annotated[int, Field(ge=80, le=450)], ...], Field(min_length=1)]
Pitches = Annotated[tuple[Annotated[int, Field(ge=0, le=99)], ...], Field(min_length=1)]


@register
class SyntheticSpeechSpec(TaskSpec):
    """The ten words of Speech Commands' subset SC10, said by 104 synthetic voices at several rates.

    A voice is in one split. Samples are divided by the standard deviation of the training data.

    Attributes:
        sample_rate: in Hz; 16,000 as in Speech Commands. Lower ones make rows shorter, and lose what is above
            half of them.
        seconds: of a clip. The word stands in the middle of silence; what is longer is cut.
        rates: how fast it is said, in words per minute.
        pitches: how high, from 0 to 99.
    """

    kind: Literal["synthetic_speech"] = "synthetic_speech"
    sample_rate: Annotated[int, Field(ge=1000, le=22_050)] = 16_000
    seconds: Annotated[float, Field(ge=0.05, le=10)] = 1.0
    rates: Rates = (140, 180, 220)
    pitches: Pitches = (30, 50, 70)

    @override
    def build(self) -> RowsTask:
        root, version = python_package(PACKAGE)
        library = next((root / name for name in LIBRARIES if (root / name).exists()), None)
        if library is None:
            raise ValueError(f"{root} lacks its library; install it: pip install --force-reinstall {PACKAGE}")
        key = {**self.model_dump(mode="json"), PACKAGE: version}
        make = partial(self._make, library=library, data=root / "espeak-ng-data")
        folder, facts = cached(self.kind, key, make)
        arrays = {split: load_arrays(folder, split) for split in ("training", "validation", "test")}
        deviation = float(facts.pop("standard deviation"))
        return RowsTask(
            {
                split: Rows(
                    found["samples"], found["ends"], found["labels"], scale=deviation, roles=found["spoken"]
                )
                for split, found in arrays.items()
            },
            title=f"synthetic speech: ten words, {self.seconds:g} s at {self.sample_rate:,} Hz (eSpeak NG)",
            facts={PACKAGE: version, **facts},
            classes=WORDS,
            unit="clip",
            role_names=("silence", "word"),
        )

    def _make(self, folder: Path, library: Path, data: Path) -> dict[str, str]:
        names = by_split(voices(data))
        speech = Speech(
            library=str(library),
            data=str(data),
            words=WORDS,
            rates=self.rates,
            pitches=self.pitches,
            sample_rate=self.sample_rate,
            n_samples=round(self.seconds * self.sample_rate),
        )
        per_voice = len(WORDS) * len(self.rates) * len(self.pitches)
        sizes = {split: per_voice * len(found) for split, found in names.items()}
        made = clips(speech, [name for found in names.values() for name in found])
        facts = save_rows(folder, made, sizes, unit="clip")
        training: Chunk = load_arrays(folder, "training")
        full = np.add.reduceat(training["spoken"], training["ends"] - speech.n_samples, dtype=np.int64)
        return {
            **facts,
            "voices": ", ".join(f"{len(found)} of {split}" for split, found in names.items()),
            "clips that are cut": f"{(full == speech.n_samples).mean():.1%} of the training data",
            "standard deviation": f"{float(training['samples'].std(dtype=np.float64)):.4f}",
        }


def by_split(names: list[str]) -> dict[str, list[str]]:
    """The voices of each split, by the hash of their names."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    n_validation, n_test = (round(share * len(names)) for share in SHARES.values())
    cut = len(names) - n_validation - n_test
    return {
        "training": ordered[:cut],
        "validation": ordered[cut : cut + n_validation],
        "test": ordered[cut + n_validation :],
    }
