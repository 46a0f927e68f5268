import json
import os
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from sma.architectures import parse_spec
from sma.architectures.presets.by_name import model_presets
from sma.training.cli.app import app
from sma.training.config import TrainSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def sma(*arguments):
    return CliRunner().invoke(app, arguments)


def test_init_writes_a_preset_out(tmp_path):
    path = tmp_path / "model.yaml"
    result = sma("init", "seqboat", "--set", "window=7", "--set", "d_model=16", "--out", str(path))
    assert result.exit_code == 0, result.output
    spec = parse_spec(yaml.safe_load(path.read_text()))
    assert spec.d_model == 16
    assert spec.blocks[0].branches[1].modules[0].window == 7
    again = sma("init", "seqboat", "--out", str(path))
    assert again.exit_code == 2
    assert "exists already" in again.output


@pytest.mark.parametrize("preset", model_presets())
def test_every_preset_can_start_a_file(preset):
    result = sma("init", preset)
    assert result.exit_code == 0, result.output
    parse_spec(yaml.safe_load(result.output))


def test_init_sets_options_and_fields_as_describe_does():
    changes = ["d_model=16", "n_layers=1", "blocks.0.branches.1.modules.0.window=64", "model.dropout=0.1"]
    changes = [word for change in changes for word in ("--set", change)]
    result = sma("init", "seqboat", *changes)
    assert result.exit_code == 0, result.output
    spec = parse_spec(yaml.safe_load(result.output))
    assert (spec.d_model, spec.blocks[0].branches[1].modules[0].window, spec.blocks[0].dropout) == (
        16,
        64,
        0.1,
    )
    assert sma("describe", "seqboat", *changes).exit_code == 0


@pytest.mark.parametrize("command", ["init", "describe"])
def test_features_take_the_place_of_a_vocabulary(command):
    result = sma(command, "seqboat", "--set", "d_input=3", "--set", "n_classes=2", "--set", "d_model=16")
    assert result.exit_code == 0, result.output


def test_init_of_a_run():
    TrainSpec.model_validate(yaml.safe_load(sma("init", "digits").output))
    result = sma("init", "digits", "--set", "model.blocks.0.repeat=1", "--set", "steps=7")
    spec = TrainSpec.model_validate(yaml.safe_load(result.output))
    assert (spec.steps, spec.model.blocks[0].repeat) == (7, 1)


def test_init_names_what_does_not_exist():
    assert "did you mean" in sma("init", "seqbot").output
    assert "has no option 'windw'" in sma("init", "seqboat", "--set", "windw=3").output


def test_schema_is_json_and_knows_the_kinds():
    for of in ("model", "training"):
        schema = json.loads(sma("schema", of).output)
        assert "GAUSpec" in schema["$defs"]
    assert sma("schema", "models").exit_code == 2


@pytest.fixture(scope="module")
def validators():
    schemas = {of: json.loads(sma("schema", of).output) for of in ("model", "training")}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    return {of: Draft202012Validator(schema) for of, schema in schemas.items()}


def test_schema_accepts_every_example(validators):
    for path in EXAMPLES.glob("*.yaml"):
        values = yaml.safe_load(path.read_text())
        of = "training" if values["kind"] == "training" else "model"
        assert [error.message for error in validators[of].iter_errors(values)] == [], path.name


@pytest.mark.parametrize("preset", model_presets())
def test_schema_accepts_what_init_writes(validators, preset):
    values = yaml.safe_load(sma("init", preset).output)
    assert [error.message for error in validators["model"].iter_errors(values)] == []


def test_schema_accepts_presets(validators):
    preset = {"preset": "seqboat", "d_model": 8, "n_layers": 1, "vocab_size": 9}
    validators["model"].validate(preset)
    validators["training"].validate({"task": "digits", "model": preset})
    assert not validators["model"].is_valid({**preset, "preset": "seqbot"})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("d_model", 0),
        ("d_model", "wide"),
        ("kind", "sequence_modle"),
        ("colour", "red"),
        ("blocks", []),
        ("blocks.0.kind", "residul"),
        ("blocks.0.branches.1.router", "latent_configurater"),
        ("blocks.0.branches.1.modules.0", {"kind": "gau", "window": -1}),
        ("blocks.0.branches.1.modules.0", {"kind": "gau", "windw": 3}),
        ("embedding", None),
    ],
)
def test_schema_refuses(validators, path, value):
    spec = yaml.safe_load((EXAMPLES / "seqboat.yaml").read_text())
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    reduce(getitem, way, spec)[last] = value
    assert not validators["model"].is_valid(spec)


def test_diff_shows_the_fields(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "COLUMNS", "200")
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    sma("init", "seqboat", "--out", str(a))
    sma("init", "seqboat", "--set", "window=7", "--out", str(b))
    result = sma("diff", str(a), str(b))
    assert result.exit_code == 1
    assert "blocks.0.branches.1.modules.0.window" in result.output
    assert sma("diff", str(a), str(a)).exit_code == 0


def test_describe_shows_both_parameter_counts():
    shown = " ".join(sma("describe", "seqboat_lra_text").output.split())
    for count in ("631,316", "633,356", "rank biases"):
        assert count in shown
    assert "633,356" not in sma("describe", "seqboat_lra_text", "--set", "vocab_size=300").output
