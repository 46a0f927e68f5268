"""Runs of several processes: stopped, killed, damaged, and gone on with in another number of processes."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from shared_training import processes, spec_of

from sma.architectures import load_model
from sma.training import Run, RunError, train
from sma.training.run.checkpoints import load_last_weights, read_position
from sma.training.run.shards import load_shards

PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.append(sys.argv[1])
from shared_training import spec_of
from sma.training import Run, resume, train
from threading import Event
from sma.training.run import shards
from sma.training.trainer import Trainer
kind, root, sent, rank, step = sys.argv[2:]
take_step, digest, gone_on = Trainer._step, shards._digest, Event()
mine = os.environ["RANK"] == rank and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
position = 0

def interrupted_step(trainer, run):
    global position
    if mine and kind != "writing" and trainer.position.step == int(step):
        os.kill(os.getpid(), int(sent))
    take_step(trainer, run)
    position = trainer.position.step
    if position > int(step):
        gone_on.set()

def interrupted_digest(path):  # of its own share, which is written
    if mine and kind == "writing" and position >= int(step):
        gone_on.wait(60)
        os.kill(os.getpid(), int(sent))
    return digest(path)

Trainer._step, shards._digest = interrupted_step, interrupted_digest
spec = spec_of("seqboat", 2, parallel={"kind": "fsdp" if kind == "writing" else kind}, validation_interval=1)
if (Path(root) / "mine").exists():
    run = Run.open(Path(root) / "mine")
    print(resume(run, spec))
else:
    print(train(spec, root=root, name="mine" if sent == "15" else None)[1])
"""
TESTS = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process no pictures are drawn."""
    monkeypatch.setattr(sys.modules[train.__module__], "write_report", lambda *report: None)


def rows(run: Run) -> list[tuple[int, str, float]]:
    return [(row["step"], row["split"], row["loss"]) for row in run.metrics()]


def whole(root: Path) -> Run:
    return train(spec_of("seqboat", 2, validation_interval=1), root=root, name="whole")[0]


def check_same(run: Run, expected: Run) -> None:
    for ours, theirs in zip(rows(run), rows(expected), strict=True):
        assert ours == (theirs[0], theirs[1], pytest.approx(theirs[2], rel=1e-9))
    assert read_position(run).step == 4
    weights = load_model(run.best).state_dict()
    for name, tensor in load_model(expected.best).state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-7, atol=1e-9, msg=name)


def stopped(world: int, root: Path, kind: str, rank: int, step: int) -> str:
    """Train in some processes, one of which is sent SIGTERM before a step; the ending that all agree on."""
    arguments = [TESTS, kind, str(root), "15", str(rank), str(step)]
    done = processes(world, *arguments, program=("-c", PROGRAM))
    assert [code for code, _, _ in done] == [0] * world, "\n".join(errors for _, _, errors in done)
    (ending,) = {output.strip() for _, output, _ in done}
    return ending


@pytest.mark.slow
def test_sharded_runs_go_on_in_another_number_of_processes(tmp_path: Path) -> None:
    """Two processes, three, and one; each but the last is stopped by a signal to one process."""
    assert stopped(2, tmp_path, "fsdp", rank=1, step=0) == "terminated"
    run = Run.open(tmp_path / "mine")
    assert read_position(run).step == 1
    assert not run.last.exists()
    assert len(list(run.shards.iterdir())) == 1
    assert stopped(3, tmp_path, "fsdp", rank=2, step=2) == "terminated"
    assert read_position(run).step == 3
    model = spec_of("seqboat", 2).model.build().double()
    load_last_weights(run, model)  # whole, in one process
    check_damage(run)
    assert stopped(1, tmp_path, "fsdp", rank=0, step=99) == "finished"
    assert run.last.exists()
    assert not run.shards.exists()
    check_same(run, whole(tmp_path))


def check_damage(run: Run) -> None:
    """Every file is needed as it is; the index runs nothing."""
    for path in sorted(run.newest.iterdir()):
        content = path.read_bytes()
        path.write_bytes(content[:-20] + bytes(20))
        with pytest.raises(RunError, match=r"is damaged or cut off|metadata of .* are damaged") as error:
            read_position(run)
        assert "\n" not in str(error.value)
        path.unlink()
        with pytest.raises(RunError):
            read_position(run)
        path.write_bytes(content)
    index, record = run.newest / ".metadata", run.newest / "checkpoint.json"
    before = index.read_bytes(), record.read_bytes()
    index.write_bytes(pickle.dumps(Harmful()))
    fields = json.loads(record.read_text())
    fields["checksums"] = "{}"
    record.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"names .*\.system, which no checkpoint needs"):
        load_shards(run.newest, {})
    index.write_bytes(before[0])
    record.write_bytes(before[1])


class Harmful:
    """What a hostile pickle holds."""

    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp", "writing"])
def test_torchrun_starts_a_killed_rank_anew(tmp_path: Path, kind: str) -> None:
    """Killed between two steps, or with fsdp while it writes its share of a checkpoint beside a step."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", "--monitor-interval", "0.1", "--no-python", sys.executable]
    done = subprocess.run(
        [*command, "-c", PROGRAM, TESTS, kind, str(tmp_path / "runs"), "9", "1", "2"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()  # the second start found the run of the first
    check_same(Run(folder), whole(tmp_path))


@pytest.mark.slow
def test_an_error_is_said_once(tmp_path: Path) -> None:
    """By the first process that fails, in one line, also where the others wait for it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["--set", "batch_size=1", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "-m", "sma", "train", "--task", "digits", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("sma: ")]
    assert len(said) == 1, done.stderr
    assert "a batch of 1 row cannot be dealt out to 2 processes" in said[0]
    assert "ValueError" not in done.stderr
    assert not list(tmp_path.iterdir())
