"""Formats: what version 1 wrote loads for ever, and how a newer version would read it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file

from sma.architectures import load_model, load_spec, parse_spec, save_model, seqboat, versions
from sma.training import Run, Trainer, TrainSpec

FIRST = Path(__file__).parents[1] / "format_1"


@pytest.fixture
def two_migrations(monkeypatch):
    """Pretend that versions 2 and 3 each renamed a field, wherever it stands."""

    def renamed(values, old, new):
        if isinstance(values, dict):
            return {new if k == old else k: renamed(v, old, new) for k, v in values.items()}
        return [renamed(v, old, new) for v in values] if isinstance(values, list) else values

    table = {
        1: lambda values: renamed(values, "width_of_keys", "d_key"),
        2: lambda values: renamed(values, "d_key", "d_qk"),
    }
    monkeypatch.setattr(versions, "MIGRATIONS", table)


def written_by(version, field):
    values = seqboat(vocab_size=11, d_model=8, n_layers=1, d_qk=6).model_dump(mode="json")
    gau = values["blocks"][0]["branches"][1]["modules"][0]
    gau[field] = gau.pop("d_qk")
    return {**values, "format_version": version}


@pytest.mark.parametrize(("version", "field"), [(1, "width_of_keys"), (2, "d_key"), (3, "d_qk")])
def test_every_older_version_becomes_the_newest(two_migrations, version, field):
    values = written_by(version, field)
    before = json.dumps(values)
    spec = parse_spec(values)
    assert spec.format_version == 3
    assert spec.blocks[0].branches[1].modules[0].d_qk == 6
    assert json.dumps(values) == before


def test_migrations_reach_models_and_runs(two_migrations, tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps(written_by(1, "width_of_keys")))
    assert load_spec(tmp_path / "spec.json").build()(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, 11)
    run = TrainSpec.model_validate({"task": "digits", "model": written_by(2, "d_key")})
    assert run.model.blocks[0].branches[1].modules[0].d_qk == 6


def test_a_newer_version_says_to_upgrade():
    values = {**written_by(2, "d_qk"), "a_field_of_the_future": 1}
    with pytest.raises(
        ValidationError, match=r"format_version=2 is newer than 1.*pip install --upgrade"
    ) as error:
        parse_spec(values)
    assert "a_field_of_the_future:" not in str(error.value)


@pytest.mark.parametrize("version", [0, -1, "two", None])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(ValidationError, match="format_version"):
        parse_spec(written_by(version, "d_qk"))


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


def test_a_checkpoint_of_version_1_after_a_migration(two_migrations, tmp_path):
    shutil.copytree(FIRST / "run", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    spec = TrainSpec.model_validate(yaml.safe_load((run.path / "spec.yaml").read_text()))
    assert spec.model.format_version == 3
    Trainer(spec, spec.task.build()).resume(run)
