"""Runs that end at a budget: of operations, of seconds or of steps, with a schedule over it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from sma.training.config import TrainSpec
from sma.training.environment import derive_seed
from sma.training.report.operations import OperationCount
from sma.training.tasks.running import check_fit, evaluating, run_batch
from sma.training.tasks.task import Task

Match = Literal["operations", "seconds", "steps"]
MATCHES: tuple[Match, ...] = ("operations", "seconds", "steps")
FIELDS = {"operations": "operations", "seconds": "time_limit", "steps": "steps"}
"""The field of a run that holds the budget."""
N_SAMPLED = 4
"""Batches whose rows' lengths stand for those of all."""
CHECKPOINTS = 50
"""Steps between checkpoints."""
LOGGED = 50
"""Lines of metrics.jsonl, which hold activation rates, that a run of so many steps or more has at least."""
NEVER = 2**53
"""Steps between validations where only the last one counts."""


@dataclass(frozen=True)
class FirstStep:
    """What the first step of a run costs.

    Attributes:
        operations: its forward operations; None if a part of the model does not count its own.
    """

    operations: int | None


def check_budgets(match: str, budgets: Sequence[float]) -> None:
    """See that budgets are rising, and possible for what they are of.

    Raises:
        ValueError: if they are not.
    """
    if match not in MATCHES:
        raise ValueError(f"match={match!r} is not what budgets can be of; use {', '.join(MATCHES)}")
    if not budgets:
        raise ValueError(f"budgets: none is given; give at least one, in {match}, such as --budget 1e12")
    for budget in budgets:
        if not (math.isfinite(budget) and budget > 0):
            raise ValueError(f"budget={budget:g} must be a positive number of {match}")
        if match == "steps" and budget != int(budget):
            raise ValueError(f"budget={budget:g} must be a whole number of steps")
    if len(set(budgets)) < len(budgets):
        raise ValueError(
            f"budgets: {', '.join(f'{budget:g}' for budget in budgets)} hold one twice; leave it out"
        )


def limited(spec: TrainSpec, match: Match, budget: float, *, validations: int, step: FirstStep) -> TrainSpec:
    """The same run, ended by a budget alone; a warm-up in steps becomes its share of the run that it was of.

    Args:
        spec: the run.
        match: what the budget is of.
        budget: how much.
        validations: about how many there are; with seconds only the last, as they take seconds themselves.
        step: what the first step costs.
    """
    limits = dict.fromkeys(FIELDS.values())
    values = {**spec.model_dump(mode="json"), **limits, "patience": None}
    values[FIELDS[match]] = int(budget) if match == "steps" else budget
    warmup = spec.schedule.warmup
    if isinstance(warmup, int) and warmup and spec.steps is not None:
        values["schedule"]["warmup"] = min(warmup / spec.steps, 0.5)
    values["checkpoint_interval"] = CHECKPOINTS
    if match == "seconds":
        return TrainSpec.model_validate({**values, "validation_interval": NEVER})
    if match == "operations":
        assert step.operations is not None
        n_steps = budget / step.operations
    else:
        n_steps = budget
    values["validation_interval"] = max(1, math.ceil(n_steps / validations))
    values["log_interval"] = max(1, min(spec.log_interval, int(n_steps / LOGGED)))
    return TrainSpec.model_validate(values)


def first_step(name: str, spec: TrainSpec, task: Task) -> FirstStep:
    """What the first step of a model costs, from a pass over its first batch.

    Raises:
        ValueError: if the model does not fit the task.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(spec.seed)
        try:
            model = spec.model.build()
            check_fit(model, task)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    count = OperationCount(model)
    if count.uncounted:
        return FirstStep(None)
    operations = 0
    for i in range(spec.accumulation):
        seed = derive_seed(spec.seed, 0, i)
        batch = task.training_batch(spec.batch_size, torch.Generator().manual_seed(seed))
        with evaluating(model), torch.no_grad():
            _, recording = run_batch(model, batch.to(next(model.parameters())))
        operations += count.of(batch, recording)
    return FirstStep(operations)


def check_step(name: str, match: str, budgets: Sequence[float], step: FirstStep) -> None:
    """See that budgets of operations can be counted, and are enough for a step.

    Raises:
        ValueError: if they are not.
    """
    if match != "operations":
        return
    if step.operations is None:
        raise ValueError(
            f"match=operations: a part of {name} does not count its operations; use --match seconds or steps"
        )
    if min(budgets) < step.operations:
        raise ValueError(
            f"budget={min(budgets):g} operations is less than one step of {name} ({step.operations:.3g}); "
            "give a higher budget, or a smaller batch_size"
        )


def sampled_lengths(spec: TrainSpec, task: Task) -> list[int]:
    """The lengths of the rows of some training batches."""
    seeds = [derive_seed(spec.seed, step, 0) for step in range(N_SAMPLED)]
    batches = (task.training_batch(spec.batch_size, torch.Generator().manual_seed(seed)) for seed in seeds)
    return [length for batch in batches for length in batch.lengths]
