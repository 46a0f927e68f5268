"""The command: what it does, and one line for every error."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from sma.training.cli.app import app

COMMAND = [sys.executable, "-m", "sma.training.cli.app"]
ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def sma(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def spec_file(values: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def run(spec_file: Path, shared_folder: Path) -> Path:
    """A finished run, made once."""
    path = shared_folder / "finished"
    if not path.exists():
        result = sma("train", "--spec", spec_file, "--out", shared_folder, "--name", "finished")
        assert result.exit_code == 0, result.output
    return path


def test_train_shows_the_result_and_the_report(run: Path) -> None:
    result = sma("report", run)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(run / "report.html")
    assert json.loads((run / "results.json").read_text())["ending"] == "finished"


def test_options_and_sets_reach_the_spec(spec_file: Path, tmp_path: Path) -> None:
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


def test_evaluate_repeats_the_reported_figure(run: Path) -> None:
    bits = json.loads((run / "results.json").read_text())["test"]["bits"]
    assert f"{bits:.4f}" in sma("evaluate", run).output
    assert sma("evaluate", run, "--weights", "last", "--split", "validation").exit_code == 0


def test_describe_takes_runs_specs_and_names(run: Path, spec_file: Path) -> None:
    outputs = {target: sma("describe", target).output for target in (run, spec_file, run / "best")}
    assert all("GAU" in output and "routed: gau" in output for output in outputs.values())
    assert [target for target, output in outputs.items() if "measured" in output] == [run]
    found = [line.split()[-1] for line in outputs[run].splitlines() if line.startswith("all,")]
    nothing, measured, at_most = (float(value.replace(",", "")) for value in found)
    assert nothing < measured < at_most
    assert "333" in sma("describe", "python_source").output or sma("describe", "digits").exit_code == 0
    wider = sma("describe", spec_file, "--set", "model.d_model=16")
    assert wider.exit_code == 0
    assert wider.output != sma("describe", spec_file).output


def test_generate_goes_on_from_the_prompt(run: Path) -> None:
    texts = [
        sma("generate", run, "--prompt", "line", "--tokens", 5, "--seed", 1).stdout_bytes for _ in range(2)
    ]
    assert texts[0] == texts[1]
    assert texts[0].startswith(b"line")
    assert sma("generate", run / "best", "--tokens", 2).exit_code == 0
    stops = [option for byte in set(texts[0][4:-1]) if byte < 128 for option in ("--stop", chr(byte))]
    stopped = sma("generate", run, "--prompt", "line", "--tokens", 5, "--seed", 1, *stops).stdout_bytes
    assert stopped == (b"line\n" if texts[0][4] < 128 else stopped)


def test_resuming_a_finished_run_changes_nothing(run: Path) -> None:
    before = (run / "best" / "model.safetensors").read_bytes(), (run / "metrics.jsonl").read_text()
    assert sma("train", "--resume", run).exit_code == 0
    assert before == ((run / "best" / "model.safetensors").read_bytes(), (run / "metrics.jsonl").read_text())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--spec", "nowhere.yaml"], 2, "there is no file nowhere.yaml"),
        (["train", "--task", "digit"], 2, "task 'digit' has no ready run; did you mean digits?"),
        (["train", "--task", "text_files"], 2, "task.folder: is missing; set it"),
        (["train", "--task", "text_files", "--set", "task.folder=/nowhere"], 2, "is not a folder; name one"),
        (["train", "--set", "stepz=3"], 2, "unknown field 'stepz'; did you mean steps"),
        (["train", "--set", "steps"], 2, "--set takes field=value"),
        (["schema", "foo"], 2, "schema foo: use model or training"),
        (["train", "--steps", "0"], 2, "steps=0: Input should be greater than or equal to 1"),
        (["train", "--resume", "nowhere"], 2, "nowhere is not the folder of a run"),
        (["train", "--resume", "{run}", "--task", "digits"], 2, "leave out --spec, --task and --name"),
        (["train", "--resume", "{run}", "--steps", "9"], 2, "another spec: steps (6 there, 9 here)"),
        (["train", "--spec", "{spec}", "--out", "{spec}"], 1, "give another folder by --out"),
        (["train", "--spec", "{spec}", "--out", "{out}", "--name", "finished"], 2, "never overwritten"),
        (["evaluate", "nowhere"], 2, "nowhere is not the folder of a run"),
        (["evaluate", "{run}", "--split", "training"], 2, "--split training: use test or validation"),
        (
            ["describe", "pyton_source"],
            2,
            "is not a file, a run's folder or a preset; did you mean python_source?",
        ),
        (["describe", "{spec}", "--set", "modl.x=1"], 2, "there is no field modl; did you mean model?"),
        (["describe", "seqboat", "--set", "model.window=0"], 2, "null (None) is allowed too"),
        (["generate", "{run}", "--stop", ""], 2, "stop must not contain an empty string"),
        (["generate", "{run}", "--top-p", "2"], 2, "top_p must be in (0, 1], got 2.0"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], code: int, message: str, run: Path, spec_file: Path, shared_folder: Path
) -> None:
    places = {"run": run, "spec": spec_file, "out": shared_folder}
    result = sma(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stderr.startswith("sma: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_damaged_checkpoint_is_a_failed_run(run: Path, tmp_path: Path) -> None:
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


def test_changed_data_are_noticed(spec_file: Path, text_folder: Path, tmp_path: Path) -> None:
    assert sma("train", "--spec", spec_file, "--out", tmp_path, "--name", "a", "--steps", 1).exit_code == 0
    (text_folder / "file0.txt").write_text("something else")
    before = {path: path.read_bytes() for path in tmp_path.glob("a/*.*")}
    for arguments in (["train", "--resume"], ["evaluate"], ["report"]):
        result = sma(*arguments, tmp_path / "a")
        assert result.exit_code == 2
        assert "have changed since it began (SHA-256 of all files: " in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert before == {path: path.read_bytes() for path in tmp_path.glob("a/*.*")}


def test_traceback_on_request(tmp_path: Path) -> None:
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
    values: dict[str, Any], text_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(values["model"]))
    options = ["--task", "text_files", "--set", f"task.folder={text_folder}", "--length", 16, "--steps", 2]
    result = sma("train", "--spec", path, *options, "--out", tmp_path / "runs", "--name", "run")
    assert result.exit_code == 0, result.output
    assert yaml.safe_load((tmp_path / "runs" / "run" / "spec.yaml").read_text())["model"]["d_model"] == 8
