"""Checkpoints as the published trainer writes them, and other files, which are refused."""

import argparse
import os
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from golden import compare
from typer.testing import CliRunner

from sma.architectures import load_model
from sma.architectures.published.arguments import parse
from sma.architectures.published.checkpoint import model_from_checkpoint
from sma.training.cli.app import app

NAME = "option_lra_cls_actbias_rms_rotary_pad"


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def contents():
    case = compare.load(NAME)
    args = argparse.Namespace(**parse(case.kind, case.config["ctor"]["argv"]), data="data", lr=[0.1])
    for name, value in case.config["ctor"]["override"].items():
        setattr(args, name, value)
    history = {"optimizer_name": "FairseqAdam", "lr_scheduler_state": {"best": np.float64(0.5)}}
    return {
        "args": args,
        "model": OrderedDict(case.group("state")),
        "optimizer_history": [history],
        "extra_state": {
            "val_loss": np.float32(0.5),
            "train_iterator": {"epoch": np.int64(2), "shuffle": True},
        },
        "last_optimizer_state": {
            "state": {0: {"exp_avg": torch.zeros(2)}},
            "param_groups": [{"betas": (0.9, 0.98)}],
        },
    }


def check(model):
    case = compare.load(NAME)
    with torch.no_grad():
        y = compare.run(case, model, case.tensors["input"])
    torch.testing.assert_close(y.double(), case.tensors["output"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_a_checkpoint(contents, tmp_path, zipped):
    torch.save(contents, tmp_path / "checkpoint_best.pt", _use_new_zipfile_serialization=zipped)
    check(model_from_checkpoint(tmp_path / "checkpoint_best.pt"))


def test_reads_arguments_under_cfg(contents, tmp_path):
    contents |= {"args": None, "cfg": {"model": vars(contents["args"])}}
    torch.save(contents, tmp_path / "checkpoint.pt")
    check(model_from_checkpoint(tmp_path / "checkpoint.pt"))


def test_the_command_makes_a_model_folder(contents, tmp_path):
    torch.save(contents, tmp_path / "checkpoint.pt")
    command = ["import", str(tmp_path / "checkpoint.pt"), str(tmp_path / "model")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    check(load_model(tmp_path / "model"))
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_code_in_the_file_is_refused_and_not_run(contents, tmp_path):
    torch.save({**contents, "extra_state": Attack(tmp_path / "trace")}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"asks for \S*open, which could run code"):
        model_from_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "trace").exists()


def test_damaged_files(contents, tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save(contents, path)
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint.pt is damaged"):
            model_from_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        model_from_checkpoint(tmp_path / "nothing.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "no state dict under 'model'"),
        ({"args": None}, "does not say its architecture"),
        ({"args": argparse.Namespace(arch="slag_wmt_en_de")}, "'slag_wmt_en_de'.*cross-attention"),
        ({"model": {}}, "checkpoint.pt: the published state lacks"),
        ({"args": argparse.Namespace(arch="slag_lm_wiki103")}, "adaptive_input and adaptive_softmax_cutoff"),
    ],
)
def test_other_contents(contents, tmp_path, changes, message):
    torch.save(contents | changes, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=message):
        model_from_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_type": "mega"}, "layer_type 'mega' is not SeqBoat's"),
        ({"use_p": True}, "use_p"),
        ({"classifier_layers": 2}, "classifier_layers 2"),
        ({"sen_rep_type": "max"}, "sen_rep_type 'max'"),
        ({"classifier_in_dim": 9}, "classifier_in_dim 9"),
        ({"chunk_size": 0}, "chunk_size 0"),
        ({"encoder_layers": 10**12}, "encoder_layers is 1000000000000, but must be from 1 to 4096"),
        ({"encoder_embed_dim": 0}, "encoder_embed_dim is 0"),
        ({"encoder_layers": "2"}, "encoder_layers is '2', but must be of type int"),
        ({"encoder_layers": None}, "encoder_layers is None"),
        ({"z_dim": True}, "z_dim is True"),
        ({"dropout": [0.1]}, r"dropout is \[0\.1\]"),
        ({"rel_pos_bias": 3}, "rel_pos_bias is 3"),
        ({"classifier_in_dim": 1.5}, "classifier_in_dim is 1.5"),
        ({"dropout": 2}, "checkpoint.pt: dropout=2: "),
    ],
)
def test_parts_that_do_not_exist_here(contents, tmp_path, changes, message):
    for name, value in changes.items():
        setattr(contents["args"], name, value)
    torch.save(contents, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=message):
        model_from_checkpoint(tmp_path / "checkpoint.pt")


def one_changed(contents, change):
    state = contents["model"]
    name = next(name for name in state if name.endswith("hx_proj.weight"))
    return name, {**contents, "model": {**state, name: change(state[name])}}


def not_a_number(tensor):
    return torch.full_like(tensor, float("nan"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.to(torch.int32), "is int32, which its model does not compute in"),
        (lambda x: x > 0, "is bool"),
        (lambda x: x.to(torch.complex64), "is complex64"),
        (lambda x: x.to(torch.float8_e4m3fn), "is float8_e4m3fn"),
        (not_a_number, "is not finite at"),
        (lambda x: x.to_sparse(), "is not a plain tensor that holds all its values"),
        (lambda x: x[:1, :1].expand(10**7, x.shape[1]), "is not a plain tensor that holds all its values"),
        (lambda x: x.to("meta"), "is not a plain tensor that holds all its values"),
        (lambda x: x[:3], "has|gives .* the shape"),
    ],
)
def test_wrong_numbers_are_refused_by_name(contents, tmp_path, change, message):
    name, contents = one_changed(contents, change)
    torch.save(contents, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=rf"checkpoint\.pt: .*'{name}' ({message})") as error:
        model_from_checkpoint(tmp_path / "checkpoint.pt")
    assert "\n" not in str(error.value)


def test_every_tensor_keeps_its_dtype(contents, tmp_path):
    contents["model"] = OrderedDict((name, x.float()) for name, x in contents["model"].items())
    _, contents = one_changed(contents, torch.Tensor.bfloat16)
    torch.save(contents, tmp_path / "checkpoint.pt")
    model = model_from_checkpoint(tmp_path / "checkpoint.pt")
    changed = [name for name, x in model.named_parameters() if x.dtype == torch.bfloat16]
    assert changed == ["blocks.0.branches.0.module.weight", "blocks.0.branches.1.router.projection.weight"]


def test_a_pipe_is_not_opened_and_compressed_files_are_not_unpacked(contents, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe, not a file"):
        model_from_checkpoint(tmp_path / "pipe")
    torch.save(contents, tmp_path / "checkpoint.pt")
    with (
        zipfile.ZipFile(tmp_path / "checkpoint.pt") as stored,
        zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in stored.namelist():
            small.writestr(name, stored.read(name))
    with pytest.raises(ValueError, match=r"small\.pt is damaged"):
        model_from_checkpoint(tmp_path / "small.pt")


def test_flipped_bits_are_errors_of_one_line_or_harmless(contents, tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save(contents, path)
    content, errors = path.read_bytes(), []
    for place in range(3, len(content), len(content) // 150):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            model_from_checkpoint(path)
        except ValueError as error:
            errors.append(str(error))
    assert len(errors) > 10
    assert all("checkpoint.pt" in error and "\n" not in error for error in errors)
