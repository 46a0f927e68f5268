"""Synthetic speech as a task: voices are kept apart, samples scaled; made without the library."""

import numpy as np
import pytest
import torch

from sma.training.tasks.standins import synthetic_speech
from sma.training.tasks.standins.synthetic_speech import SyntheticSpeechSpec, by_split

VOICES = [f"voice{i:02d}" for i in range(20)]


def made_clips(speech, names):
    """Clips that hold the number of the voice; the first half of each is the word."""
    for name in names:
        n = len(speech.words) * len(speech.rates) * len(speech.pitches)
        spoken = np.tile(np.repeat([1, 0], [speech.n_samples // 2] * 2).astype(np.uint8), n)
        yield {
            "samples": (spoken * (1 + VOICES.index(name))).astype(np.int16).reshape(-1, 1),
            "spoken": spoken,
            "ends": np.arange(1, n + 1) * speech.n_samples,
            "labels": np.repeat(np.arange(len(speech.words)), n // len(speech.words)),
        }


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setenv("SMA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "libespeak-ng.so").touch()
    monkeypatch.setattr(synthetic_speech, "python_package", lambda name: (tmp_path, "1.0"))
    monkeypatch.setattr(synthetic_speech, "voices", lambda data: VOICES)
    monkeypatch.setattr(synthetic_speech, "clips", made_clips)
    return tmp_path


def test_voices_are_kept_apart(package):
    task = SyntheticSpeechSpec(sample_rate=1000, seconds=0.1, rates=(150, 200), pitches=(50,)).build()
    heard = {
        split: set(np.asarray(rows.values).ravel().tolist()) - {0} for split, rows in task.splits.items()
    }
    assert [len(found) for found in heard.values()] == [14, 3, 3]
    assert len(set.union(*heard.values())) == 20
    assert [len(rows) for rows in task.splits.values()] == [280, 60, 60]
    assert "14 of training, 3 of validation, 3 of test" in task.facts["voices"]
    assert task.facts["clips that are cut"] == "0.0% of the training data"


def test_samples_have_deviation_one_and_roles(package):
    task = SyntheticSpeechSpec(sample_rate=1000, seconds=0.1).build()
    training = task.splits["training"]
    inputs = torch.cat([training.batch([i]).inputs for i in range(0, len(training), 7)])
    assert float(inputs.std()) == pytest.approx(1, abs=0.1)
    batch = task.training_batch(2, torch.Generator().manual_seed(0))
    assert batch.inputs.shape == (2, 100, 1)
    assert torch.equal(batch.roles, (batch.inputs[..., 0] != 0).long())
    assert task.role_names == ("silence", "word")


def test_the_split_of_voices_depends_on_their_names_alone():
    assert by_split(VOICES) == by_split(list(reversed(VOICES)))


def test_a_package_without_its_library(package):
    (package / "libespeak-ng.so").unlink()
    with pytest.raises(ValueError, match="lacks its library; install it: pip install --force-reinstall"):
        SyntheticSpeechSpec().build()


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("sma.training.tasks.standins.installed.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install espeakng-loader$"):
        SyntheticSpeechSpec().build()
