"""The command as a whole: errors in one line, quick help, and pipes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sma.architectures import save_model, seqboat

COMMAND = [sys.executable, "-m", "sma.training.cli.app"]
ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--spec", "nowhere.yaml"], 2, "there is no file nowhere.yaml"),
        (["train", "--task", "digit"], 2, "task 'digit' has no ready run; did you mean digits?"),
        (["train", "--task", "text_files"], 2, "task: name the text by one of folder, files"),
        (["train", "--task", "text_files", "--set", "task.folder=/nowhere"], 2, "is not a folder; name one"),
        (["train", "--set", "stepz=3"], 2, "unknown field 'stepz'; did you mean steps"),
        (["train", "--set", "steps"], 2, "--set takes field=value"),
        (
            ["train", "--steps", "2", "--set", "steps=3"],
            2,
            "steps=2 is given by its own option, and --set steps=3",
        ),
        (
            ["train", "--length", "8", "--set", "task={{kind: digits}}"],
            2,
            "task.length=8 is given by its own option",
        ),
        (["schema", "foo"], 2, "schema foo: use model or training"),
        (["train", "--steps", "0"], 2, "steps=0: Input should be greater than or equal to 1"),
        (["train", "--resume", "nowhere"], 2, "nowhere is not the folder of a run"),
        (
            ["train", "--resume", "{run}", "--task", "digits"],
            2,
            "leave out --spec, --task, --recipe and --name",
        ),
        (["train", "--resume", "{run}", "--seed", "9"], 2, "another spec: seed (0 there, 9 here)"),
        (["train", "--resume", "{run}", "--steps", "2"], 2, "has 6 steps behind it, more than steps=2"),
        (["train", "--spec", "{spec}", "--out", "{spec}"], 1, "give another folder by --out"),
        (["train", "--spec", "{spec}", "--out", "{out}", "--name", "finished"], 2, "never overwritten"),
        (["evaluate", "nowhere"], 2, "nowhere is not the folder of a run"),
        (["evaluate", "{run}", "--split", "training"], 2, "--split training: use test or validation"),
        (
            ["describe", "pyton_source"],
            2,
            "is not a file, a run's folder or a preset; did you mean python_source",
        ),
        (["describe", "{spec}", "--set", "modl.x=1"], 2, "there is no field modl; did you mean model?"),
        (["describe", "seqboat", "--set", "model.window=0"], 2, "null (None) is allowed too"),
        (["generate", "{run}", "--stop", ""], 2, "stop must not contain an empty string"),
        (["generate", "{run}", "--seed", "-1"], 2, "seed must be at least 0 and less than 2**63, got -1"),
        (["generate", "{run}", "--top-p", "2"], 2, "top_p must be in (0, 1], got 2.0"),
    ],
)
def test_errors_are_one_line(
    sma: Command,
    arguments: list[str],
    code: int,
    message: str,
    run: Path,
    spec_file: Path,
    shared_folder: Path,
) -> None:
    places = {"run": run, "spec": spec_file, "out": shared_folder}
    result = sma(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stderr.startswith("sma: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_traceback_on_request(sma: Command, tmp_path: Path) -> None:
    result = sma("--traceback", "evaluate", tmp_path)
    assert isinstance(result.exception, ValueError)
    assert sma("evaluate", tmp_path).exit_code == 2  # the flag is forgotten again


def test_help_and_version_are_quick_and_need_no_torch() -> None:
    call = "sma.training.cli.app.app(['--help'], standalone_mode=False)"
    code = f"import sys, sma.training.cli.app; {call}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True, capture_output=True, cwd=ROOT)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([*COMMAND, "--help"], env=ENVIRONMENT, check=True, capture_output=True, cwd=ROOT)
        seconds.append(time.perf_counter() - start)
        if seconds[-1] < 0.3:
            break
    assert min(seconds) < 0.3 or os.getloadavg()[0] > (os.cpu_count() or 1), seconds
    version = subprocess.run(
        [*COMMAND, "--version"], env=ENVIRONMENT, check=True, capture_output=True, cwd=ROOT
    )
    assert version.stdout.strip()


def test_yaml_errors_show_the_place(sma: Command, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("steps: 3\nmodel: {preset: seqboat, d_model: [1, 2}\n")
    result = sma("train", "--spec", path)
    assert result.exit_code == 2
    message, line, caret = result.stderr.rstrip("\n").splitlines()
    assert message.startswith(f"sma: {path} is not valid YAML or JSON: while parsing a flow sequence")
    assert message.endswith("line 2, column 40")
    assert line[caret.index("^")] == "}"


@pytest.mark.parametrize(
    "command", [["describe", "seqboat"], ["diff", "seqboat", "mega"], ["generate", "MODEL", "--tokens", "3"]]
)
def test_a_reader_that_leaves_is_no_error(command: list[str], tmp_path: Path) -> None:
    if "MODEL" in command:
        save_model(seqboat(vocab_size=256, d_model=8, n_layers=1).build(), tmp_path)
    command = [str(tmp_path) if part == "MODEL" else part for part in command]
    process = subprocess.Popen(
        [*COMMAND, *command], env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1


def test_bars_of_transformers_are_off() -> None:
    code = (
        "from sma.training.cli import app; app.app = lambda: None; app.main(); "
        "from transformers.utils.logging import is_progress_bar_enabled as bars; assert not bars()"
    )
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True, capture_output=True, cwd=ROOT)
