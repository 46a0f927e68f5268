"""Synthetic speech: clips of one length around the word; real voices where the library is installed."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sma.training.generators.espeak import Speech, clips, fit, trim, voices

SPEECH = {
    "words": ("yes", "no"),
    "rates": (180,),
    "pitches": (40, 60),
    "sample_rate": 4000,
    "n_samples": 2000,
}
installed = pytest.mark.skipif(find_spec("espeakng_loader") is None, reason="pip install espeakng-loader")


def test_silence_at_the_ends_is_trimmed():
    samples = np.array([0, 3, 0, 1000, 0, -500, 5, 0], np.int16)
    assert trim(samples).tolist() == [1000, 0, -500]
    assert trim(np.zeros(4, np.int16)).tolist() == [0] * 4


@pytest.mark.parametrize("n", [999, 1000])
def test_a_clip_stands_in_the_middle(n):
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(4410) / 22_050)).astype(np.int16)
    clip, heard = fit(tone, 22_050, 4000, n)
    assert len(clip) == len(heard) == n
    first, last = np.flatnonzero(heard)[[0, -1]]
    assert (last - first + 1, first) == (800, (n - 800) // 2)
    assert not clip[heard == 0].any()
    wanted = 8000 * np.sin(2 * np.pi * 440 * np.arange(800) / 4000)
    assert np.abs(clip[first : last + 1] - wanted)[50:-50].max() < 200  # the filter rings at the ends


def test_a_clip_that_is_too_long_is_cut():
    clip, heard = fit(np.full(2000, 30_000, np.int16), 16_000, 16_000, 1000)
    assert len(clip) == 1000
    assert heard.all()


def test_a_library_that_does_not_load(tmp_path):
    speech = Speech(library=str(tmp_path / "no.so"), data=str(tmp_path), **SPEECH)
    with pytest.raises(
        ValueError, match=r"no.so does not work .*pip install --force-reinstall espeakng-loader"
    ):
        list(clips(speech, ["m1"]))


@installed
def test_two_processes_say_the_same():
    folder = Path(next(iter(find_spec("espeakng_loader").submodule_search_locations)))
    library = next(folder.glob("libespeak-ng.*"))
    speech = Speech(library=str(library), data=str(folder / "espeak-ng-data"), **SPEECH)
    names = voices(folder / "espeak-ng-data")[:2]
    first, again = (list(clips(speech, names)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one["labels"].tolist() == [0, 0, 1, 1]
        assert one["ends"].tolist() == [2000, 4000, 6000, 8000]
        assert one["samples"].dtype == np.int16
        assert all(np.array_equal(one[name], other[name]) for name in one)
    sounds = {clip.tobytes() for part in first for clip in part["samples"].reshape(-1, 2000)}
    assert len(sounds) == 8
