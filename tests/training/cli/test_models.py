import json
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from sma.architectures import parse_spec
from sma.architectures.presets.by_name import model_presets
from sma.training.config import TrainSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_init_writes_a_preset_out(sma, tmp_path):
    path = tmp_path / "model.yaml"
    result = sma("init", "seqboat", "--set", "window=7", "--set", "d_model=16", "--out", str(path))
    assert result.exit_code == 0, result.output
    spec = parse_spec(yaml.safe_load(path.read_text()))
    assert spec.d_model == 16
    assert spec.blocks[0].branches[1].modules[0].window == 7
    again = sma("init", "seqboat", "--out", str(path))
    assert again.exit_code == 2
    assert "exists already" in again.output


@pytest.mark.parametrize("command", [("init", "seqboat"), ("schema",)])
def test_a_file_that_cannot_be_written_is_named(sma, tmp_path, command):
    path = tmp_path / "nowhere" / "model.yaml"
    result = sma(*command, "--out", path)
    assert result.exit_code == 2
    assert result.stderr == (
        f"sma: cannot write {path} (No such file or directory); name a file in a folder that exists\n"
    )


@pytest.mark.parametrize("preset", model_presets())
def test_every_preset_can_start_a_file(sma, preset):
    result = sma("init", preset)
    assert result.exit_code == 0, result.output
    parse_spec(yaml.safe_load(result.output))


def test_init_sets_options_and_fields_as_describe_does(sma):
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
def test_features_take_the_place_of_a_vocabulary(sma, command):
    result = sma(command, "seqboat", "--set", "d_input=3", "--set", "n_classes=2", "--set", "d_model=16")
    assert result.exit_code == 0, result.output


def test_init_of_a_run(sma):
    TrainSpec.model_validate(yaml.safe_load(sma("init", "digits").output))
    result = sma("init", "digits", "--set", "model.blocks.0.repeat=1", "--set", "steps=7")
    spec = TrainSpec.model_validate(yaml.safe_load(result.output))
    assert (spec.steps, spec.model.blocks[0].repeat) == (7, 1)


def test_init_names_what_does_not_exist(sma):
    assert "did you mean" in sma("init", "seqbot").output
    assert "has no option 'windw'" in sma("init", "seqboat", "--set", "windw=3").output


def test_schema_is_json_and_knows_the_kinds(sma):
    for of in ("model", "training"):
        schema = json.loads(sma("schema", of).output)
        assert "GAUSpec" in schema["$defs"]
    assert sma("schema", "models").exit_code == 2


@pytest.fixture(scope="module")
def validators(sma):
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
def test_schema_accepts_what_init_writes(sma, validators, preset):
    values = yaml.safe_load(sma("init", preset).output)
    assert [error.message for error in validators["model"].iter_errors(values)] == []


def test_schema_accepts_presets(validators):
    preset = {"preset": "seqboat", "d_model": 8, "n_layers": 1, "vocab_size": 9}
    validators["model"].validate(preset)
    validators["training"].validate({"task": "digits", "model": preset})
    assert not validators["model"].is_valid({**preset, "preset": "seqbot"})


def test_schema_knows_the_options_of_presets(validators):
    preset = {"preset": "mega_chunk", "d_model": 8, "n_layers": 1, "vocab_size": 9, "chunk": 4}
    validators["model"].validate(preset)
    for wrong in ({"chunks": 4}, {"kind": "sequence_model"}, {"blocks": []}):
        assert not validators["model"].is_valid({**preset, **wrong})
        assert not validators["training"].is_valid({"task": "digits", "model": {**preset, **wrong}})
    assert not validators["model"].is_valid({**preset, "preset": "seqboat"})  # which has no chunk


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


@pytest.mark.parametrize("columns", [None, "30"])
def test_diff_shows_the_fields(sma, tmp_path, monkeypatch, columns):
    """In full in a pipe, over several lines in a narrow terminal."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    sma("init", "seqboat", "--out", str(a))
    sma("init", "seqboat", "--set", "window=7", "--out", str(b))
    result = sma("diff", str(a), str(b))
    assert result.exit_code == 1
    first = "".join(line[1:].split("\u2502")[0].strip() for line in result.output.splitlines())
    assert "blocks.0.branches.1.modules.0.window" in first
    assert "\u2026" not in result.output
    assert columns is not None or f" {a} " in result.output
    assert sma("diff", str(a), str(a)).exit_code == 0


def test_describe_shows_both_parameter_counts(sma):
    shown = " ".join(sma("describe", "seqboat_lra_text").output.split())
    for count in ("631,316", "633,356", "rank biases"):
        assert count in shown
    assert "633,356" not in sma("describe", "seqboat_lra_text", "--set", "vocab_size=300").output


def test_describe_takes_runs_specs_and_names(sma, run, spec_file):
    outputs = {target: sma("describe", target).output for target in (run, spec_file, run / "best")}
    assert all("GAU" in output and "routed: gau" in output for output in outputs.values())
    assert [target for target, output in outputs.items() if "measured" in output] == [run]
    found = [line.split()[-1] for line in outputs[run].splitlines() if line.startswith("all,")]
    nothing, measured, at_most = (float(value.replace(",", "")) for value in found)
    assert nothing < measured < at_most
    assert "333" in sma("describe", "python_source").output or sma("describe", "digits").exit_code == 0
    same = [
        sma("describe", name).output.replace("preset:", "").split() for name in ("preset:seqboat", "seqboat")
    ]
    assert same[0] == same[1]
    wider = sma("describe", spec_file, "--set", "model.d_model=16")
    assert wider.exit_code == 0
    assert wider.output != sma("describe", spec_file).output
