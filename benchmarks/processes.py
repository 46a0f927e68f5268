"""Throughput of training in one process against several, on this machine.

    python -m benchmarks.processes [--processes 2] [--rounds 5] [--steps 24]

Trains SeqBoat (D 64, four layers) on this project's own source, 8 rows of 256 bytes per step: in one process
with one thread, in one with as many threads as there are processes, and in several with one thread each.
Every round runs each of them once, so that what else the machine does meets all alike, and ratios are taken
within rounds. Prints a table in Markdown for docs/scaling.md, with the load average before each round.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from sma.training import Run, Trainer, TrainSpec
from sma.training.parallel.joining import started
from sma.training.run.silent import create_together

ROOT = Path(__file__).parents[1]
N_LINES = 3
"""Of metrics; the first one, in which caches fill, is left out."""


def spec_of(steps: int, threads: int) -> TrainSpec:
    values: dict[str, Any] = {
        "task": {
            "kind": "text_files",
            "folder": str(ROOT / "modules"),
            "length": 256,
            "evaluation_length": 256,
            "validation_bytes": 2048,
        },
        "model": {
            "preset": "seqboat",
            "vocab_size": 256,
            "d_model": 64,
            "n_layers": 4,
            "d_qk": 32,
            "d_hidden": 128,
            "window": 64,
        },
        "batch_size": 8,
        "steps": steps,
        "validation_interval": steps,
        "log_interval": steps // N_LINES,
        "threads": threads,
        "device": "cpu",
    }
    return TrainSpec.model_validate(values)


def train(spec: TrainSpec, root: Path) -> None:
    """As one of the processes that torchrun started, or as the only one."""
    with started(spec.parallel, device="cpu") as parallel:
        trainer = Trainer(spec, spec.task.build(), parallel=parallel)
        trainer.fit(create_together(parallel, lambda: Run.create(spec, root, "mine")))


def measure(n_processes: int, threads: int, steps: int) -> float:
    """Elements per second of all processes together."""
    with tempfile.TemporaryDirectory() as root:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes)]
        command = [sys.executable, *(torchrun if n_processes > 1 else []), "-m", "benchmarks.processes"]
        command += ["--train", root, "--steps", str(steps), "--threads", str(threads)]
        settings = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
        subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, check=True, capture_output=True)
        rows = [row for row in Run.open(Path(root) / "mine").metrics() if row["split"] == "training"]
        return median(row["elements_per_second"] for row in rows[1:])


def report(n_processes: int, rounds: int, steps: int) -> None:
    ways = [(1, 1), (1, n_processes), (n_processes, 1)]
    rates: dict[tuple[int, int], list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        print(f"round {number + 1}: load average {os.getloadavg()[0]:.2f}", flush=True)
        for way in ways:
            rates[way].append(measure(*way, steps))
    print("\n| processes | threads each | elements per second | of one process with one thread |")
    print("| ---: | ---: | ---: | ---: |")
    for way, found in rates.items():
        ratios = [rate / one for rate, one in zip(found, rates[1, 1], strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {way[0]} | {way[1]} | {median(found):,.0f} | {spread} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=24, help="of each run; a multiple of 3")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train is not None:
        train(spec_of(given.steps, given.threads), given.train)
    else:
        report(given.processes, given.rounds, given.steps)


if __name__ == "__main__":
    main()
