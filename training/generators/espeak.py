"""Spoken words by eSpeak NG (https://github.com/espeak-ng/espeak-ng), through its C library.

What it says depends on what it said before, so all clips are made in one fresh process, in a fixed order.
"""

import ctypes
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from math import gcd
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sma.lazy import needs
from sma.training.generators.chunks import Chunk

SYNCHRONOUS, RATE, PITCH, UTF8, DO_NOT_EXIT = 2, 1, 3, 1, 0x8000
"""Of the library's header `speak_lib.h`."""
SEED = 1
"""Of the noise in voices."""
QUIET = 0.01
"""Of a clip's highest amplitude: what stays below it at the ends is silence."""
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Speech:
    """What is said, and how.

    Attributes:
        library: path of the shared library.
        data: path of its voices and dictionaries.
        words: one clip per word, rate and pitch of each voice.
        rates: in words per minute.
        pitches: from 0 to 99.
        sample_rate: of the clips, in Hz.
        n_samples: of a clip: the word stands in the middle of silence, and is cut if it is longer.
    """

    library: str
    data: str
    words: tuple[str, ...]
    rates: tuple[int, ...]
    pitches: tuple[int, ...]
    sample_rate: int
    n_samples: int


def voices(data: Path) -> list[str]:
    """The names of the voices that change how a language is spoken, in alphabetical order."""
    return sorted(path.name for path in (data / "voices" / "!v").iterdir() if path.is_file())


def clips(speech: Speech, names: list[str]) -> Iterator[Chunk]:
    """The clips of each voice: `samples (n, 1)` int16, `spoken (n,)`, `ends` and `labels`.

    Raises:
        ValueError: if the library does not work; the message says what to do.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(speak, speech, name) for name in names]
        try:
            for each in waiting:
                yield each.result()
        except (OSError, AttributeError, BrokenProcessPool) as error:
            raise ValueError(
                f"eSpeak NG in {speech.library} does not work ({error}); install it anew: "
                "pip install --force-reinstall espeakng-loader"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def speak(speech: Speech, voice: str) -> Chunk:
    """The clips of one voice, by word, rate and pitch."""
    samples, spoken, labels = [], [], []
    for label, word in enumerate(speech.words):
        for rate in speech.rates:
            for pitch in speech.pitches:
                said, native = _engine(speech.library, speech.data).say(word, voice, rate, pitch)
                clip, heard = fit(trim(said), native, speech.sample_rate, speech.n_samples)
                samples.append(clip)
                spoken.append(heard)
                labels.append(label)
    return {
        "samples": np.concatenate(samples).reshape(-1, 1),
        "spoken": np.concatenate(spoken),
        "ends": np.arange(1, len(labels) + 1) * speech.n_samples,
        "labels": np.array(labels, np.int64),
    }


def trim(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Samples without the silence at both ends; all of them if nothing is heard."""
    size = np.abs(samples.astype(np.int32))
    heard = np.flatnonzero(size > QUIET * size.max(initial=0))
    return samples[heard[0] : heard[-1] + 1] if len(heard) else samples


def fit(
    samples: NDArray[np.int16], native: int, rate: int, n: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """`n` samples at another rate, cut or in the middle of silence, and which of them are the word."""
    with needs("data", "synthetic speech"):
        from scipy.signal import resample_poly

    common = gcd(native, rate)
    changed = resample_poly(samples.astype(np.float64), rate // common, native // common)[:n]
    clip, heard = np.zeros(n, np.int16), np.zeros(n, np.uint8)
    start = (n - len(changed)) // 2
    place = slice(start, start + len(changed))
    clip[place] = changed.round().clip(-(2**15), 2**15 - 1)
    heard[place] = 1
    return clip, heard


class _Engine:
    """The library, of which a process holds one."""

    def __init__(self, library: str, data: str) -> None:
        self._library = ctypes.CDLL(library)
        self._parts: list[NDArray[np.int16]] = []
        self._callback = _Callback(self._hear)  # kept as long as the library may call it
        self.rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), DO_NOT_EXIT)
        if self.rate <= 0:
            raise OSError(f"no voices in {data}")
        self._library.espeak_SetSynthCallback(self._callback)

    def _hear(self, samples: Any, n: int, events: Any) -> int:
        if samples and n > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (n,)).copy())
        return 0

    def say(self, word: str, voice: str, rate: int, pitch: int) -> tuple[NDArray[np.int16], int]:
        """The samples of an English word, and their rate."""
        if self._library.espeak_SetVoiceByName(f"en+{voice}".encode()):
            raise OSError(f"the voice en+{voice} cannot be used")
        self._library.espeak_SetParameter(RATE, rate, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
        self._parts.clear()
        text = word.encode()
        self._library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._parts:
            raise OSError(f"en+{voice} says nothing for {word!r}")
        return np.concatenate(self._parts), self.rate


@cache
def _engine(library: str, data: str) -> _Engine:
    return _Engine(library, data)
