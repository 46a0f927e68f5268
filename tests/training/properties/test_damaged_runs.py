"""Every file of a run, damaged in many ways: each command answers by one line, and never waits."""

import json
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from sma.architectures.files.tensors import load_tensors, save_tensors
from sma.training import Run, RunError
from sma.training.cli.app import app
from sma.training.results import best_model
from sma.training.run.checkpoints import read_checkpoint
from tests.training.conftest import ONE_PIXEL, TINY_MODEL

FILES = (
    "spec.yaml",
    "facts.json",
    "metrics.jsonl",
    "results.json",
    "last.safetensors",
    "best/spec.json",
    "best/model.safetensors",
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "resume": ("train", "--resume", "{run}"),
    "evaluate": ("evaluate", "{run}"),
    "evaluate last": ("evaluate", "{run}", "--weights", "last"),
    "report": ("report", "{run}"),
    "generate": ("generate", "{run}", "--tokens", "3"),
    "describe": ("describe", "{run}"),
}
VALUES: tuple[Any, ...] = (None, True, -1, 10**400, float("nan"), "x", [], {}, [[[]]], {"a": {"b": None}})
SECONDS = 30
Damage = Callable[[Path], object]


def to_bytes(change: Callable[[bytes], bytes]) -> Damage:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def replaced_by(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


DAMAGES: dict[str, Damage] = {
    "empty": to_bytes(lambda content: b""),
    "first half": to_bytes(lambda content: content[: len(content) // 2]),
    "last byte cut": to_bytes(lambda content: content[:-1]),
    "longer": to_bytes(lambda content: content + b"\0" * 100),
    "binary": to_bytes(lambda content: random.Random(0).randbytes(len(content))),
    "zeros": to_bytes(lambda content: bytes(len(content))),
    "not UTF-8": to_bytes(lambda content: b"\xff\xfe" + content),
    "null": to_bytes(lambda content: b"null"),
    "a number": to_bytes(lambda content: b"1e999"),
    "a huge number": to_bytes(lambda content: b"9" * 10_000),
    "a list": to_bytes(lambda content: b"[1, 2]"),
    "no fields": to_bytes(lambda content: b"{}"),
    "nested": to_bytes(lambda content: b'{"a": ' * 50_000 + b"1" + b"}" * 50_000),
    "nested lists": to_bytes(lambda content: b"[" * 50_000),
    "missing": lambda path: path.unlink(),
    "folder": replaced_by(Path.mkdir),
    "pipe": replaced_by(os.mkfifo),
    "endless device": replaced_by(lambda path: path.symlink_to("/dev/zero")),
    "empty device": replaced_by(lambda path: path.symlink_to("/dev/null")),
    "link to nothing": replaced_by(lambda path: path.symlink_to("nothing")),
    "link to itself": replaced_by(lambda path: path.symlink_to(path.name)),
    "not readable": lambda path: path.chmod(0),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run; what makes testing slow and has nothing to do with files is left out."""
    folder = tmp_path_factory.mktemp("damage")
    (folder / "text").mkdir()
    for i in range(5):
        (folder / "text" / f"{i}.txt").write_text(f"line of file {i}\n" * 5)
    values = {
        "task": {"kind": "text_files", "folder": str(folder / "text"), "length": 16, "evaluation_length": 32},
        "model": {**TINY_MODEL, "n_layers": 1},
        "steps": 4,
        "batch_size": 2,
        "schedule": {"kind": "linear", "warmup": 2},
        "validation_interval": 2,
        "log_interval": 1,
        "threads": 1,
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_curves", "draw_activation", "draw_loss"):
            patch.setattr(f"sma.training.report.page.{name}", lambda *rows, **options: ONE_PIXEL)
        patch.setattr("sma.training.tasks.text.TextTask.baselines", lambda task: {"none": 8.0})
        patch.setattr("sma.training.tasks.text.TextTask.sections", lambda task, model, test: [])
        run_command("train", "--spec", str(folder / "spec.yaml"), "--out", str(folder), "--name", "run")
        yield folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def run_command(*arguments: str) -> tuple[int, str]:
    """The exit code and the error of a command, which is one line and comes in time."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"{arguments} hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        result = CliRunner().invoke(app, arguments)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    said = result.stderr.strip().splitlines()
    lines = [line for line in said if not line.startswith(" ")]  # below: where YAML is wrong
    assert len(lines) == (result.exit_code != 0), result.stderr
    assert all(line.startswith("sma: ") for line in lines)
    assert result.exit_code in (0, 1, 2)
    return result.exit_code, result.stderr


READERS = {
    "spec.yaml": ("evaluate", "resume"),
    "facts.json": ("resume", "report"),
    "metrics.jsonl": ("report", "resume"),
    "results.json": ("report", "describe"),
    "last.safetensors": ("resume", "evaluate last"),
    "best/spec.json": ("generate", "evaluate"),
    "best/model.safetensors": ("generate", "report"),
}
MAY_BE_HARMLESS = {"last byte cut", "missing", "link to nothing", "not readable"}


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_told_in_one_line(file: str, finished: Path, tmp_path: Path) -> None:
    every = 3 if file == "metrics.jsonl" else 1  # whose damage stops nothing, which takes longer
    for i, (name, damage) in enumerate([*DAMAGES.items()][::every]):
        run = Path(shutil.copytree(finished, tmp_path / f"{i}"))
        damage(run / file)
        command = COMMANDS[READERS[file][i % 2]]
        code, error = run_command(*(argument.format(run=run) for argument in command))
        if file != "metrics.jsonl" and name not in MAY_BE_HARMLESS:
            assert code != 0, (name, command)
            assert Path(file).name in error or str(run) in error, (name, error)


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    for key, value in items:
        yield from leaves(value, (*path, key))


def with_value(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(values) if isinstance(values, dict) else list(values)
    copy[path[0]] = with_value(values[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("file", ["spec.yaml", "facts.json", "results.json", "best/spec.json"])
def test_a_field_of_another_type_is_told_in_one_line(file: str, run: Path) -> None:
    values = yaml.safe_load((run / file).read_text())
    draw = random.Random(file)
    for i, path in enumerate(draw.sample(list(leaves(values)), 12)):
        (run / file).write_text(json.dumps(with_value(values, path, VALUES[i % len(VALUES)])))
        run_command(*(argument.format(run=run) for argument in COMMANDS[READERS[file][0]]))


@pytest.mark.parametrize("file", ["last.safetensors", "best/model.safetensors"])
def test_every_flipped_bit_of_tensors_is_noticed(file: str, run: Path) -> None:
    path, draw = run / file, random.Random(file)
    whole = path.read_bytes()
    opened, command = Run.open(run), COMMANDS[READERS[file][0]]
    for _ in range(60):
        content = bytearray(whole)
        content[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        with pytest.raises((RunError, ValueError)):
            read_checkpoint(opened) if file == "last.safetensors" else best_model(opened)
    code, error = run_command(*(argument.format(run=run) for argument in command))
    assert code == 1
    assert "restore it from a copy" in error


@pytest.mark.parametrize("part", ["exp_avg_sq", "step", "blocks.0"])
def test_missing_state_of_the_optimizer_is_named(part: str, run: Path) -> None:
    """Also where whoever left it out wrote new checksums."""
    tensors, metadata = load_tensors(run / "last.safetensors")
    kept = {n: tensor for n, tensor in tensors.items() if not (n.startswith("optimizer/") and part in n)}
    assert len(kept) < len(tensors)
    for write in (save_tensors, lambda path, tensors, metadata: save_file(tensors, path, metadata)):
        write(run / "last.safetensors", kept, metadata)
        code, error = run_command("train", "--resume", str(run))
        assert code == 1
        assert re.search(rf"optimizer/[^ ]*{part}.*; restore it from a copy .*sma train --spec", error)


def test_a_lost_facts_file_is_not_taken_for_unchanged_data(run: Path, finished: Path) -> None:
    (run / "facts.json").unlink()
    for name in ("resume", "evaluate", "report"):
        code, error = run_command(*(argument.format(run=run) for argument in COMMANDS[name]))
        assert code == 1
        assert "facts.json is missing, so it is not known whether the data are still those" in error
    facts = json.loads((finished / "facts.json").read_text())
    del facts["data"]["SHA-256 of all files"]
    (run / "facts.json").write_text(json.dumps(facts))
    code, error = run_command("evaluate", str(run))
    assert code == 2
    assert "the data of" in error
    assert "not recorded" in error


def test_a_spec_in_place_of_which_a_pipe_stands(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spec.yaml")
    for arguments in (("train", "--spec"), ("describe",)):
        code, error = run_command(*arguments, str(tmp_path / "spec.yaml"))
        assert code == 2
        assert error
