"""results.json: what the runs of a comparison measured, from which tables, figures and page are made."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sma.architectures.files.atomic import write_whole
from sma.training.comparison.memory import read_peak
from sma.training.run.errors import RunError
from sma.training.run.folder import Run
from sma.training.run.position import Finite, Natural
from sma.training.run.records import Rates, Results, read_record

FILE = "results.json"
ENDED = ("finished", "time limit")
"""Endings of a run that spent its budget."""
STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelRecord(BaseModel):
    """A model of a comparison, see `Entrant`."""

    model_config = STRICT

    name: str
    source: str
    control: str | None
    of: str | None


class RunRecord(BaseModel):
    """A finished run.

    Attributes:
        model: its name.
        budget: what it was given.
        seed: of weights and data.
        learning_rate: the highest of the schedule.
        chosen: whether it counts: False for those of a search for the learning rate that were not the best.
        d_model: width of the model.
        parameters: how many numbers were trained.
        steps: that it took.
        elements: real elements that it read.
        operations: forward operations of training, as realised; None where they are not counted.
        seconds: of training, without validations.
        peak_memory: bytes; None where the system does not tell.
        quality: the test's headline measure.
        bits: of the test, per unit.
        accuracy: of the test.
        validation_loss: the lowest, whose weights were tested.
        rates: activation rates of the test, by layer.
        course: their means over the steps of training that were logged.
    """

    model_config = STRICT

    model: str
    budget: Finite
    seed: Natural
    learning_rate: Finite
    chosen: bool = True
    d_model: Natural | None
    parameters: Natural
    steps: Natural
    elements: Natural | None
    operations: Natural | None
    seconds: Finite
    peak_memory: Natural | None
    quality: Finite
    bits: Finite
    accuracy: Finite
    validation_loss: Finite
    rates: Rates
    course: Rates

    @property
    def mean_rate(self) -> float | None:
        """The mean of the test's activation rates; None without routed layers."""
        rates = [rate for layer in self.rates.values() for rate in layer]
        return sum(rates) / len(rates) if rates else None


class Missing(BaseModel):
    """A run that is not there, and why."""

    model_config = STRICT

    model: str
    budget: Finite
    seed: Natural
    reason: str


class Comparison(BaseModel):
    """results.json.

    Attributes:
        task: its title.
        unit: what bits are per.
        headline: the measure that is compared; bits are better low, accuracy high.
        match: what budgets are of.
        budgets: in rising order.
        seeds: of the runs.
        models: the first is what the others are compared with.
        runs: those that are finished.
        missing: those that are not.
        data: facts about the data.
        versions: of packages.
        machine: that the last run ran on.
    """

    model_config = STRICT

    format: Literal[1] = 1
    task: str
    unit: str
    headline: Literal["bits", "accuracy"]
    match: Literal["operations", "seconds", "steps"]
    budgets: list[Finite]
    seeds: list[Natural]
    models: Annotated[list[ModelRecord], Field(min_length=1)]
    runs: list[RunRecord]
    missing: list[Missing]
    data: dict[str, str]
    versions: dict[str, str]
    machine: dict[str, str | int | None]

    def of(self, model: str, budget: float) -> dict[int, RunRecord]:
        """The runs that count of a model with a budget, by seed."""
        return {
            run.seed: run for run in self.runs if run.chosen and (run.model, run.budget) == (model, budget)
        }

    @property
    def lower_is_better(self) -> bool:
        """Whether less of the measure is better."""
        return self.headline == "bits"

    @property
    def measure(self) -> str:
        """What is compared, in words."""
        return f"bits per {self.unit}" if self.headline == "bits" else "accuracy"


def finished(run: Run) -> Results | None:
    """The results of a run that spent its budget; None of one that has not yet."""
    found = run.results()
    return found if found is not None and found.ending in ENDED else None


def run_record(run: Run, model: str, budget: float) -> RunRecord:
    """The record of a finished run.

    Raises:
        RunError: if its files are damaged.
    """
    found, spec = finished(run), run.spec()
    losses = [row["loss"] for row in run.metrics() if row["split"] == "validation"]
    if found is None or not losses:
        raise RunError(
            f"{run.path} lacks results.json or its validations; remove the folder, and train it anew"
        )
    return RunRecord(
        model=model,
        budget=budget,
        seed=spec.seed,
        learning_rate=spec.learning_rate,
        d_model=getattr(spec.model, "d_model", None),
        parameters=found.parameters,
        steps=found.steps,
        elements=found.elements,
        operations=found.operations,
        seconds=found.training_seconds - found.validation_seconds,
        peak_memory=read_peak(run.path),
        quality=found.value,
        bits=found.test.bits,
        accuracy=found.test.accuracy,
        validation_loss=min(losses),
        rates=found.test.activation_rates,
        course=_course(run) or found.test.activation_rates,
    )


def _course(run: Run) -> Rates:
    """Mean activation rates over the logged steps of training."""
    logged = [row["activation"] for row in run.metrics() if row["split"] == "training"]
    if not logged:
        return {}
    return {
        name: [sum(step[name][i] for step in logged) / len(logged) for i in range(len(rates))]
        for name, rates in logged[-1].items()
    }


def read_comparison(folder: Path) -> Comparison:
    """What a folder's results.json says.

    Raises:
        ValueError: if there is none.
        RunError: if it is damaged.
    """
    found = read_record(
        folder / FILE, Comparison, remedy="restore it, or write it anew by the comparison's command"
    )
    if found is None:
        raise ValueError(
            f"{folder} has no {FILE}; name the folder of a comparison, or give specs to start one"
        )
    return found


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write results.json, whole or not at all."""
    write_whole(folder / FILE, comparison.model_dump_json(indent=1) + "\n")
