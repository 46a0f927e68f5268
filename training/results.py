"""Results and facts of a run: results.json and facts.json, and the models that they are about."""

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
from sma.training.environment import find_device
from sma.training.evaluation import evaluate
from sma.training.parallel.contract import OneProcess, Parallel
from sma.training.run.checkpoints import load_last_weights
from sma.training.run.errors import RunError, cause
from sma.training.run.folder import Run
from sma.training.run.limits import reached
from sma.training.run.position import Position
from sma.training.run.records import Ending, Facts, Results, Score
from sma.training.tasks.task import Evaluation, Task
from sma.training.trainer import Trainer


def write_facts(run: Run, trainer: Trainer, command: Sequence[str]) -> None:
    """Write facts.json: the data, versions, the machine and every command that worked on the run.

    Raises:
        RunError: if it cannot be written, or an older one is damaged.
    """
    before = run.facts()
    facts = Facts(
        task=trainer.task.title,
        data={name: str(value) for name, value in trainer.task.facts.items()},
        parameters=trainer.n_parameters,
        versions=versions(),
        machine=machine(trainer.device),
        started=before.started if before is not None else _now(),
        commands=[*(before.commands if before is not None else []), shlex.join(command)],
    )
    run.write_record("facts.json", facts)


def check_data(run: Run, task: Task) -> Facts:
    """See that the data are those that a run began with, as far as they have a hash.

    Returns:
        What facts.json says about the run.

    Raises:
        ValueError: if they have changed.
        RunError: if that cannot be known, since facts.json is missing or damaged.
    """
    facts = run.facts()
    if facts is None:
        raise RunError(
            f"{run.path / 'facts.json'} is missing, so it is not known whether the data are still those that "
            f"the run began with; restore it from a copy, or start a new run with: {run.again}"
        )
    now = {name: str(value) for name, value in task.facts.items()}
    for name in sorted(facts.data.keys() | now.keys()):
        then, here = facts.data.get(name, "not recorded"), now.get(name, "no longer given")
        if name.startswith("SHA-256") and then != here:
            raise ValueError(
                f"the data of {run.path} have changed since it began ({name}: {then[:12]}... then, "
                f"{here[:12]}... now); restore them, or start a new run with: {run.again}"
            )
    return facts


def write_results(
    run: Run,
    spec: TrainSpec,
    task: Task,
    position: Position,
    ending: Ending,
    parallel: Parallel | None = None,
    *,
    baselines: bool = True,
) -> tuple[nn.Module, Evaluation]:
    """Score the best model on the test split, as a rule beside the baselines; write results.json.

    Several processes share out the test; the first one does the rest.

    Returns:
        The best model and its score.
    """
    parallel = parallel or OneProcess()
    model = best_model(run, parallel.device(spec.device))
    test = evaluate(model, task, "test", batch_size=spec.batch_size, parallel=parallel)
    if not parallel.is_main:
        return model, test
    results = Results(
        ending=ending,
        steps=position.step,
        best_step=position.best_step,
        training_seconds=position.elapsed,
        validation_seconds=position.validating,
        operations=position.operations or None,
        elements=position.n_real or None,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        headline=task.headline,
        unit=task.unit,
        test=Score(**asdict(test), bits=test.bits),
        baselines={name: float(value) for name, value in task.baselines().items()} if baselines else {},
    )
    run.write_record("results.json", results)
    return model, test


def ending_at(spec: TrainSpec, position: Position) -> Ending:
    """How a run ended that stands there and has not said it."""
    return reached(spec, position) or "interrupted"


def best_model(run: Run, device: torch.device | None = None) -> nn.Module:
    """The model of the best validation so far, in evaluation mode.

    Raises:
        RunError: if there is none yet, or its files are damaged or belong to another model.
    """
    try:
        model = load_model(run.best)
    except FileNotFoundError as error:
        raise RunError(
            f"{run.path} has no best model: it stopped before its first validation, or {run.best} was "
            f"removed; go on with: {run.resume}"
        ) from error
    except ValueError as error:
        raise RunError(f"{cause(error)}; {_remedy(run)}") from error
    if model.spec != run.spec().model:
        raise RunError(
            f"{run.best / 'spec.json'} and {run.path / 'spec.yaml'} are specs of different models, so one "
            f"of them was changed; {_remedy(run)}"
        )
    return model.to(device if device is not None else find_device("auto"))


def last_model(run: Run, spec_model: Any) -> nn.Module:
    """The model with the weights of the newest checkpoint, in evaluation mode."""
    model: nn.Module = spec_model.build()
    load_last_weights(run, model)
    return model.to(find_device("auto")).eval()


def _remedy(run: Run) -> str:
    return (
        "restore it from a copy, or use the newest weights: --weights last; or remove the folder "
        f"{run.best}, and the next validation writes it anew: {run.resume}"
    )


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    packages = ("torch", "numpy", "scikit-learn")
    return {
        "sma": sma.__version__,
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def machine(device: torch.device) -> dict[str, str | int | None]:
    """The machine that the run ran on."""
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
