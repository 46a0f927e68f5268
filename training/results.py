"""What a run measured, and where and how: results.json and facts.json."""

import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import torch
from torch import nn

import sma
from sma.architectures import load_model
from sma.training.config import TrainSpec
from sma.training.evaluation import evaluate
from sma.training.run.checkpoints import Position, load_last_weights
from sma.training.run.errors import RunError
from sma.training.run.folder import Run
from sma.training.tasks.task import Evaluation, Task
from sma.training.trainer import Trainer, find_device


def write_facts(run: Run, trainer: Trainer, command: Sequence[str]) -> None:
    """Write facts.json: the data, versions, the machine and every command that worked on the run."""
    before = run.read_json("facts.json") or {"started": _now(), "commands": []}
    facts = {
        "task": trainer.task.title,
        "data": dict(trainer.task.facts),
        "parameters": trainer.n_parameters,
        "versions": versions(),
        "machine": machine(trainer.device),
        "started": before["started"],
        "commands": [*before["commands"], shlex.join(command)],
    }
    run.write_json("facts.json", facts)


def check_data(run: Run, task: Task) -> None:
    """See that the data are those that a run began with, as far as they have a hash.

    Raises:
        ValueError: if they have changed.
    """
    recorded = (run.read_json("facts.json") or {"data": {}})["data"]
    for name, value in task.facts.items():
        if name.startswith("SHA-256") and recorded.get(name, value) != value:
            raise ValueError(
                f"the data of {run.path} have changed since it began ({name}: {recorded[name][:12]}... then, "
                f"{value[:12]}... now); restore them, or start a new run with: sma train --spec "
                f"{run.path / 'spec.yaml'}"
            )


def write_results(
    run: Run, spec: TrainSpec, task: Task, position: Position, ending: str
) -> tuple[nn.Module, Evaluation]:
    """Score the best model on the test split, beside the baselines; write results.json.

    Returns:
        The best model and its score.
    """
    model = best_model(run, find_device(spec.device))
    test = evaluate(model, task, "test", batch_size=spec.batch_size)
    results = {
        "ending": ending,
        "steps": position.step,
        "best_step": position.best_step,
        "training_seconds": position.elapsed,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "headline": task.headline,
        "unit": task.unit,
        "test": {**asdict(test), "bits": test.bits},
        "baselines": task.baselines(),
    }
    run.write_json("results.json", results)
    return model, test


def best_model(run: Run, device: torch.device | None = None) -> nn.Module:
    """The model of the best validation so far, in evaluation mode.

    Raises:
        RunError: if there is none yet, or its file is damaged.
    """
    try:
        model = load_model(run.best)
    except FileNotFoundError as error:
        raise RunError(
            f"{run.path} has no best model yet: it stopped before its first validation; go on with: "
            f"sma train --resume {run.path}"
        ) from error
    except ValueError as error:
        raise RunError(f"{error}; or use the newest weights: --weights last") from error
    return model.to(device if device is not None else find_device("auto"))


def last_model(run: Run, spec_model: Any) -> nn.Module:
    """The model with the weights of the newest checkpoint, in evaluation mode."""
    model: nn.Module = spec_model.build()
    load_last_weights(run, model)
    return model.to(find_device("auto")).eval()


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    packages = ("torch", "numpy", "scikit-learn")
    return {
        "sma": sma.__version__,
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def machine(device: torch.device) -> dict[str, Any]:
    """What the run ran on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "system": platform.platform(),
        "device": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def this_command() -> list[str]:
    """The command line of this process, as a user would type it."""
    return ["sma", *sys.argv[1:]]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
