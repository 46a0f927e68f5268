"""Train the runs of a table and keep their curves in a small file beside it.

    python -m benchmarks.runs benchmarks/results/bytes.yaml [--only learned_30 always] [--seeds 0 1]

A table is a YAML file: the task whose ready run is changed, `settings` of all runs, and for every run by name
what is set besides, each as `sma train --set` takes it. Runs that stand in the results already are not
repeated, so the command may be stopped and started again. Each run has a process and one thread of its own.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import Field
from torch import nn
from typing_extensions import override

import sma
from sma.spec.base import Fields
from sma.training.config import TrainSpec
from sma.training.presets import run_values
from sma.training.report.description import describe, operations, routed_flops
from sma.training.run.folder import Run
from sma.training.settings.overrides import apply_overrides, parse_assignment
from sma.training.tasks.task import Task
from sma.training.trainer import Observer, Trainer

Results = dict[str, dict[str, dict[str, Any]]]
"""By run, then by seed."""


class Table(Fields):
    """Runs that are compared.

    Attributes:
        task: whose ready run is changed.
        settings: of all runs, as `--set` takes them.
        seeds: of each run.
        runs: what each one sets besides, by name.
        kept: whether all fields that are set still exist; False for what was tried and left out.
    """

    task: str
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    runs: dict[str, tuple[str, ...]] = Field(min_length=1)
    kept: bool = True

    @classmethod
    def read(cls, path: Path) -> "Table":
        """The table of a YAML file."""
        return cls.model_validate(yaml.safe_load(path.read_text()))

    def spec(self, name: str, seed: int) -> TrainSpec:
        """A run of the table."""
        changes = (*self.settings, *self.runs[name], f"seed={seed}", "device=cpu", "threads=1")
        values = apply_overrides(run_values(self.task), list(map(parse_assignment, changes)))
        return TrainSpec.model_validate(values)


class _Curve(Observer):
    """Keeps what was validated, and says it."""

    def __init__(self) -> None:
        self.points: list[dict[str, Any]] = []

    @override
    def on_row(self, trainer: Trainer, row: dict[str, Any]) -> None:
        if row["split"] == "validation":
            self.points.append(row)
            rates = [round(rate, 2) for rates in row["activation"].values() for rate in rates]
            print(f"  {row['step']}: {row['bits']:.3f} bits, accuracy {row['accuracy']:.3f}, active {rates}")


def train_one(spec: TrainSpec) -> dict[str, Any]:
    """Train in a temporary folder: the curve of validations, operations, CPU seconds and peak memory."""
    torch.set_num_threads(1)
    curve = _Curve()
    trainer = Trainer(spec, spec.task.build(), observer=curve)
    folder = Path(tempfile.mkdtemp())
    start = time.process_time()
    try:
        run = Run.create(spec, folder, "run")
        with run.lock():
            ending = trainer.fit(run)
    finally:
        shutil.rmtree(folder)
    fixed = operations(describe(trainer.model))[0]
    return {
        "ending": ending,
        "headline": trainer.task.headline,
        "parameters": trainer.n_parameters,
        "operations": round(fixed + routed_flops(trainer.model, curve.points[-1]["activation"])),
        "activation": [round(rate, 4) for rates in curve.points[-1]["activation"].values() for rate in rates],
        "needs": needs_met(trainer.model, trainer.task),
        "cpu_seconds": round(time.process_time() - start, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "curve": [[p["step"], round(p["bits"], 4), round(p["accuracy"], 4)] for p in curve.points],
    }


@torch.no_grad()
def needs_met(model: nn.Module, task: Task) -> list[list[float]]:
    """Per routed sub-module: the share of activated elements that are needed, and of needed ones activated.

    And the share that is needed at all, which is the first of these by chance. From 100 validation rows;
    nothing where the task does not say what it needs, or nothing is routed.
    """
    batch = next(iter(task.evaluation_batches("validation", 100)))
    if batch.needs is None:
        return []
    with sma.record(model.eval()) as recording:
        model(batch.inputs, batch.mask)
    needs, found = batch.needs, []
    for layer in recording.layers:
        for active in layer.routing.active.unbind(-1):
            both = (active & needs).sum()
            met = [both / active.sum().clamp(min=1), both / needs.sum(), needs.float().mean()]
            found.append([round(float(share), 3) for share in met])
    return found


def read_results(path: Path) -> Results:
    """What was run of the table at `path`; nothing if there is no file of results yet."""
    results = path.with_suffix(".json")
    return json.loads(results.read_text()) if results.exists() else {}


def write_results(path: Path, results: Results) -> None:
    """Replace the results of the table at `path` in one step: one line per run."""
    lines = [
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(
            f"{json.dumps(seed)}: {json.dumps(results[name][seed])}" for seed in sorted(results[name])
        )
        + "\n}"
        for name in results
    ]
    new = path.with_suffix(".json.new")
    new.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    os.replace(new, path.with_suffix(".json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int)
    options = parser.parse_args()
    table = Table.read(options.table)
    for seed in table.seeds if options.seeds is None else options.seeds:
        for name in table.runs if options.only is None else options.only:
            if str(seed) in read_results(options.table).get(name, {}):
                continue
            print(f"{name}, seed {seed}", flush=True)
            spec = table.spec(name, seed)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                result = process.submit(train_one, spec).result()
            results = read_results(options.table)
            results.setdefault(name, {})[str(seed)] = result
            write_results(options.table, results)


if __name__ == "__main__":
    main()
