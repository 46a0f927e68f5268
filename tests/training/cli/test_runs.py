"""Commands on runs: train, report and generate, and runs that each command refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

COMMAND = [sys.executable, "-m", "sma.training.cli.app"]
ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
Command = Callable[..., Any]


def test_train_shows_the_result_and_the_report(sma: Command, run: Path) -> None:
    result = sma("report", run)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(run / "report.html")
    assert json.loads((run / "results.json").read_text())["ending"] == "finished"


def test_options_and_sets_reach_the_spec(sma: Command, spec_file: Path, tmp_path: Path) -> None:
    result = sma(
        *("train", "--spec", spec_file, "--out", tmp_path / "runs", "--name", "a", "--steps", 2, "--seed", 5),
        *("--batch-size", 3, "--length", 8, "--learning-rate", 0.5, "--threads", 1, "--set", "clip=0.5"),
    )
    assert result.exit_code == 0, result.output
    assert "this model" in result.output
    spec = yaml.safe_load((tmp_path / "runs" / "a" / "spec.yaml").read_text())
    found = {key: spec[key] for key in ("steps", "seed", "batch_size", "learning_rate", "threads", "clip")}
    assert found == {"steps": 2, "seed": 5, "batch_size": 3, "learning_rate": 0.5, "threads": 1, "clip": 0.5}
    assert spec["task"]["length"] == 8


def test_generate_goes_on_from_the_prompt(sma: Command, run: Path) -> None:
    texts = [
        sma("generate", run, "--prompt", "line", "--tokens", 5, "--seed", 1).stdout_bytes for _ in range(2)
    ]
    assert texts[0] == texts[1]
    assert texts[0].startswith(b"line")
    assert sma("generate", run / "best", "--tokens", 2).exit_code == 0
    stops = [option for byte in set(texts[0][4:-1]) if byte < 128 for option in ("--stop", chr(byte))]
    stopped = sma("generate", run, "--prompt", "line", "--tokens", 5, "--seed", 1, *stops).stdout_bytes
    assert stopped == (b"line\n" if texts[0][4] < 128 else stopped)


def test_resuming_a_finished_run_changes_nothing(sma: Command, run: Path) -> None:
    before = (run / "best" / "model.safetensors").read_bytes(), (run / "metrics.jsonl").read_text()
    assert sma("train", "--resume", run).exit_code == 0
    assert before == ((run / "best" / "model.safetensors").read_bytes(), (run / "metrics.jsonl").read_text())


def test_a_damaged_checkpoint_is_a_failed_run(sma: Command, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    (copy / "best").mkdir(parents=True)
    for path in (*run.glob("*.*"), *run.glob("best/*")):
        if path.is_file():
            (copy / path.relative_to(run)).write_bytes(path.read_bytes())
    (copy / "last.safetensors").write_bytes(b"cut")
    (copy / "best" / "model.safetensors").write_bytes(b"cut")
    for arguments, message in (
        (["train", "--resume", copy], "last.safetensors is damaged or cut off"),
        (["evaluate", copy], "model.safetensors is truncated or not a safetensors file"),
        (["evaluate", copy, "--weights", "last"], "last.safetensors is damaged or cut off"),
    ):
        result = sma(*arguments)
        assert result.exit_code == 1
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_changed_data_are_noticed(sma: Command, spec_file: Path, text_folder: Path, tmp_path: Path) -> None:
    assert sma("train", "--spec", spec_file, "--out", tmp_path, "--name", "a", "--steps", 1).exit_code == 0
    (text_folder / "file0.txt").write_text("something else")
    before = {path: path.read_bytes() for path in tmp_path.glob("a/*.*")}
    for arguments in (["train", "--resume"], ["evaluate"], ["report"]):
        result = sma(*arguments, tmp_path / "a")
        assert result.exit_code == 2
        assert "have changed since it began (SHA-256 of all files: " in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert before == {path: path.read_bytes() for path in tmp_path.glob("a/*.*")}


def test_ctrl_c_finishes_the_step_and_writes_the_report(spec_file: Path, tmp_path: Path) -> None:
    arguments = ["train", "--spec", spec_file, "--out", tmp_path, "--name", "stopped", "--steps", "100000"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = tmp_path / "stopped"
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, output + errors
    assert "Traceback" not in errors
    assert f"sma train --resume {run}" in output
    assert (run / "report.html").exists()
    results = json.loads((run / "results.json").read_text())
    assert results["ending"] == "interrupted"
    assert results["steps"] >= 1
    assert (run / "best" / "model.safetensors").exists()


def test_a_model_file_is_trained_with_the_ready_run_around_it(
    sma: Command, values: dict[str, Any], text_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(values["model"]))
    options = ["--task", "text_files", "--set", f"task.folder={text_folder}", "--length", 16, "--steps", 2]
    result = sma("train", "--spec", path, *options, "--out", tmp_path / "runs", "--name", "run")
    assert result.exit_code == 0, result.output
    assert yaml.safe_load((tmp_path / "runs" / "run" / "spec.yaml").read_text())["model"]["d_model"] == 8


def test_lines_are_whole_in_a_pipe(sma: Command, spec_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("a folder with a long name " * 4)
    result = sma("train", "--spec", spec_file, "--out", folder, "--name", "run", "--set", "model.n_layers=20")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    validation = [line for line in lines if line.startswith("step ")]
    assert all(line.count(" ") > 20 and "validation" in line and "active" in line for line in validation)
    assert len(validation) == 2
    assert f"report: {folder / 'run' / 'report.html'}" in lines


def test_generate_ends_quietly_when_its_reader_leaves(run: Path) -> None:
    command = [*COMMAND, "generate", str(run), "--prompt", "line", "--tokens", "2000", "--seed", "1"]
    process = subprocess.Popen(
        command, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(4) == b"line"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1
