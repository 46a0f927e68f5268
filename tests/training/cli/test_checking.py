"""The command that checks any model."""

import json
import sys
from unittest import mock

import pytest

from sma.training.imported import imported_names

MODULE = """
from torch import nn

class Leaks(nn.Module):
    d_model = 4
    def forward(self, x):
        return x - x.mean(0)

def build():
    return nn.Linear(4, 4)

def make(model_class):
    def build():
        return model_class()
    return build

leaks = make(Leaks)

def first(model, x, mask):
    return model(x)[0]

def recurrent():
    return nn.LSTM(4, 4, batch_first=True)
"""
FEW = ("--examples", 3, "--max-length", 4)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module in the working folder."""
    (tmp_path / "module_to_check.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "module_to_check"
    sys.modules.pop("module_to_check", None)


def test_a_model_that_is_right(sma, module, tmp_path):
    result = sma("check", f"{module}:build", *FEW, "--causal", "--json", tmp_path / "report.json")
    assert result.exit_code == 0, result.output
    assert "holds       causality" in result.output
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["model"] == "Linear"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.json", "there.json exists already; name a new file"),
        ("folder", "folder exists already; name a new file"),
        ("nowhere/report.json", "(No such file or directory); name a file in a folder that exists"),
        ("there.json/report.json", "(Not a directory); name a file in a folder that exists"),
    ],
)
def test_a_report_that_cannot_be_written_is_found_before_anything_runs(sma, tmp_path, name, message):
    (tmp_path / "there.json").write_text("kept")
    (tmp_path / "folder").mkdir()
    with mock.patch("sma.training.cli.targets.target_model") as target:
        result = sma("check", "ssm_only", "--json", tmp_path / name)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not target.called
    assert (tmp_path / "there.json").read_text() == "kept"


def test_a_check_that_fails_leaves_no_file(sma, tmp_path):
    assert sma("check", "nowhere", "--json", tmp_path / "report.json").exit_code == 2
    assert not (tmp_path / "report.json").exists()


def test_a_violation_ends_with_1_and_its_program(sma, module):
    result = sma("check", f"{module}:leaks", "--property", "batch-mates", *FEW)
    assert result.exit_code == 1
    assert "batch-mates, confirmed by this program:" in result.output
    assert "violated    batch-mates" in result.output
    assert "from module_to_check import leaks\nmodel = leaks()" in result.output


def test_a_function_calls_the_model(sma, module):
    call = ("--call", f"{module}:first", "--d-model", 4)
    result = sma("check", f"{module}:recurrent", *call, "--property", "right padding", *FEW)
    assert result.exit_code == 0, result.output
    assert "holds       right padding" in result.output
    assert module not in imported_names()  # resuming a run does not need it


def test_a_preset(sma):
    result = sma("check", "ssm_only", "--property", "determinism", "--property", "rows that join", *FEW)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()[1:]] == ["holds", "holds"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "'nowhere' is not a file, a folder or a preset, and a model of the Hub is owner/name"),
        (("seqbot",), "did you mean seqboat"),
        (
            ("./nowhere",),
            "there is no file or folder ./nowhere, nor can it be the name of a model; give a path",
        ),
        (("/no/where",), "there is no file or folder /no/where, nor can it be the name of a model; give a"),
        (("tests",), "tests is a folder without config.json (a model of transformers), spec.json"),
        (("./nowhere", "--class", "AutoModel"), "there is no folder ./nowhere, nor can it be the name of a"),
        (("seqboat", "--property", "speed"), "there is no property 'speed'"),
        (("seqboat", "--call", "function"), "'function' is not MODULE:FUNCTION; write it as my_module:build"),
        (("seqboat", "--max-length", 1), "max_length=1 leaves nothing"),
        (("seqboat", "--window", 0), "window=0 must be an integer of at least 1"),
        (
            ("seqboat", "--window", -3, "--property", "causality"),
            "window=-3 must be an integer of at least 1",
        ),
    ],
)
def test_bad_input_is_one_line(sma, arguments, message):
    result = sma("check", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
