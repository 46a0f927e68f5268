"""The format of specs, weights and runs: what version 1 wrote loads for ever."""

import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from sma.architectures import load_model, load_spec, parse_spec, save_model, seqboat
from sma.training import Run, Trainer, TrainSpec

FIRST = Path(__file__).parents[1] / "format_1"


def written_by(version):
    return {
        **seqboat(vocab_size=11, d_model=8, n_layers=1).model_dump(mode="json"),
        "format_version": version,
    }


def test_a_newer_version_says_to_upgrade():
    values = {**written_by(2), "a_field_of_the_future": 1}
    with pytest.raises(
        ValidationError, match=r"format_version=2 is newer than 1.*pip install --upgrade"
    ) as error:
        parse_spec(values)
    assert "a_field_of_the_future:" not in str(error.value)


@pytest.mark.parametrize("version", [0, -1, "two", None])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(ValidationError, match="format_version"):
        parse_spec(written_by(version))


def test_a_model_of_version_1_is_the_same_function(tmp_path):
    model, expected = load_model(FIRST), load_file(FIRST / "expected.safetensors")
    torch.testing.assert_close(model(expected["tokens"]), expected["logits"], rtol=1e-9, atol=1e-9)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    torch.testing.assert_close(again(expected["tokens"]), expected["logits"], rtol=1e-9, atol=1e-9)


def test_a_spec_of_version_1_as_a_user_wrote_it():
    assert load_spec(FIRST / "model.yaml") == load_model(FIRST).spec


def test_a_run_of_version_1_goes_on(tmp_path):
    shutil.copytree(FIRST / "run", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    spec = TrainSpec.model_validate(run.values())
    trainer = Trainer(spec, spec.task.build())
    trainer.resume(run)
    assert trainer.position.step == 2
    assert trainer.fit(run) == "finished"
    assert trainer.position.step == 3
