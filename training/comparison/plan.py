"""The runs of a comparison: which there are, what each waits for, and what it trains."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sma.architectures.files.atomic import write_whole
from sma.checks import near
from sma.training.comparison import controls
from sma.training.comparison.budget import FirstStep, Match, limited
from sma.training.comparison.entrants import Entrant
from sma.training.comparison.measurements import RunRecord
from sma.training.config import TrainSpec
from sma.training.differences import differences
from sma.training.run.records import read_record


@dataclass(frozen=True)
class Cell:
    """A run of a comparison.

    Attributes:
        model: whose.
        budget: how much.
        seed: of weights and data.
        learning_rate: one of those that are tried; None for the model's own.
    """

    model: str
    budget: float
    seed: int
    learning_rate: float | None = None

    @property
    def name(self) -> str:
        """Of its folder."""
        rate = "" if self.learning_rate is None else f"-lr{self.learning_rate:g}"
        return re.sub(r"[^\w.+-]", "-", f"{self.model}-{self.budget:.12g}-seed{self.seed}{rate}")


Done = Mapping[Cell, RunRecord]
Failed = Collection[Cell]


class PlannedModel(BaseModel):
    """A model of a plan; `operations` is what its first step costs. See `Entrant`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    fields: dict[str, Any]
    control: str | None
    of: str | None
    operations: int | None

    @classmethod
    def of_entrant(cls, entrant: Entrant, step: FirstStep) -> "PlannedModel":
        """The model of an entrant."""
        return cls(**vars(entrant), operations=step.operations)


class Plan(BaseModel):
    """plan.json: all that decides which runs there are.

    Attributes:
        match: what budgets are of.
        budgets: in rising order.
        seeds: in order; the first is that of the search for learning rates.
        learning_rates: that are tried for every model and budget; none to use its own.
        validations: about how many each run has.
        lengths: of sampled rows, over which the operations of a wider model are averaged.
        models: the first is what the others are compared with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    match: Match
    budgets: list[float]
    seeds: list[int]
    learning_rates: list[float]
    validations: int
    lengths: list[int]
    models: list[PlannedModel]

    def model(self, name: str) -> PlannedModel:
        """The model of that name."""
        return next(model for model in self.models if model.name == name)

    def cells(self) -> Iterator[Cell]:
        """All runs that may be wanted, by budget, seed and model; a search's with each of its rates."""
        for budget in sorted(self.budgets):
            for seed in self.seeds:
                for model in self.models:
                    rates: list[float | None] = [*self.learning_rates] or [None]
                    for rate in rates:
                        yield Cell(model.name, budget, seed, rate)

    def chosen(self, model: str, budget: float, seed: int, done: Done, failed: Failed) -> Cell | None:
        """The run that counts for a model, a budget and a seed; None while the search goes on.

        The learning rate is that of the lowest validation loss with the first seed; one that failed loses.
        """
        if not self.learning_rates:
            return Cell(model, budget, seed)
        tried = [Cell(model, budget, self.seeds[0], rate) for rate in self.learning_rates]
        found = [cell for cell in tried if cell in done]
        if not all(cell in done or cell in failed for cell in tried) or not found:
            return None
        best = min(found, key=lambda cell: done[cell].validation_loss)
        return Cell(model, budget, seed, best.learning_rate)

    def wanted(self, done: Done, failed: Failed) -> list[Cell]:
        """The runs that are wanted, as far as it is known; those of a search first."""
        return [cell for cell in self.cells() if self._is_wanted(cell, done, failed)]

    def _is_wanted(self, cell: Cell, done: Done, failed: Failed) -> bool:
        if self.learning_rates and cell.seed == self.seeds[0]:
            return True
        return cell == self.chosen(cell.model, cell.budget, cell.seed, done, failed)

    def spec(self, cell: Cell, done: Done, failed: Failed) -> TrainSpec | None:
        """What a run trains; None while it waits for another."""
        model = self.model(cell.model)
        values = {**model.fields, "seed": cell.seed}
        if cell.learning_rate is not None:
            values["learning_rate"] = cell.learning_rate
        if model.control in controls.OF_A_RUN:
            assert model.of is not None
            learned = self.chosen(model.of, cell.budget, cell.seed, done, failed)
            if learned is None or learned not in done:
                return None
            values["model"] = self._of_a_run(model, done[learned], cell.seed)
        spec = TrainSpec.model_validate(values)
        step = FirstStep(model.operations)
        return limited(spec, self.match, cell.budget, validations=self.validations, step=step)

    def _of_a_run(self, model: PlannedModel, learned: RunRecord, seed: int) -> dict[str, Any]:
        values = model.fields["model"]
        if model.control == "random":
            names = controls.routed_names(values)
            rates = [sum(learned.course[name]) / len(learned.course[name]) for name in names]
            return controls.at_random(values, rates, seed)
        if not learned.operations or not learned.elements:
            raise ValueError("controls: wider needs operations, which the model does not count; leave it out")
        return controls.wider(values, learned.operations / learned.elements, self.lengths)

    def waits_forever(self, cell: Cell, done: Done, failed: Failed) -> bool:
        """Whether a run waits for one that failed."""
        model = self.model(cell.model)
        if model.control not in controls.OF_A_RUN or model.of is None:
            return False
        if self.learning_rates:
            tried = [Cell(model.of, cell.budget, self.seeds[0], rate) for rate in self.learning_rates]
            if all(one in failed for one in tried):
                return True
        learned = self.chosen(model.of, cell.budget, cell.seed, done, failed)
        return learned is not None and learned in failed


def control_entrants(entrants: Sequence[Entrant], names: Sequence[str]) -> list[Entrant]:
    """The controls of every model that routes, or of the one that is named before the control and a colon.

    Raises:
        ValueError: if there is no such control or model, or the model does not route.
    """
    found: dict[str, Entrant] = {}
    for text in names:
        name, sign, control = text.rpartition(":")
        if control not in controls.CONTROLS:
            raise ValueError(f"controls: there is no {control!r}; use {', '.join(controls.CONTROLS)}")
        if sign and name not in (known := [entrant.name for entrant in entrants]):
            raise ValueError(f"controls: {text}: there is no model {name!r}{near(name, known)}")
        chosen = [entrant for entrant in entrants if entrant.name == name] if sign else _routed(entrants)
        for entrant in chosen:
            controls.check_routed(entrant.name, entrant.fields["model"])
            made = _control(entrant, control)
            found[made.name] = made
    places = [f"{entrant.name}-{control}" for entrant in entrants for control in controls.CONTROLS]
    return [found[name] for name in places if name in found]


def _routed(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Those that route; the last one if none does, whose check says so."""
    found = [entrant for entrant in entrants if controls.routes(entrant.fields["model"])]
    return found or [entrants[-1]]


def _control(entrant: Entrant, name: str) -> Entrant:
    make = {"always": controls.always, "never": controls.never, "window": controls.window}.get(name)
    model = entrant.fields["model"]
    fields = {**entrant.fields, "model": model if make is None else make(model)}
    return Entrant(f"{entrant.name}-{name}", entrant.source, fields, name, entrant.name)


def read_plan(path: Path) -> Plan | None:
    """The plan in a file; None if there is no such file.

    Raises:
        RunError: if it is damaged.
    """
    return read_record(path, Plan, remedy="restore it from a copy, or use another --out")


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan, whole or not at all."""
    write_whole(path, plan.model_dump_json(indent=1) + "\n")


def check_grown(folder: Path, there: Plan, here: Plan) -> None:
    """See that a plan has all runs of an older one: seeds, budgets and models may be added, nothing changed.

    Raises:
        ValueError: if it has not; the message names the field.
    """
    then, now = there.model_dump(mode="json"), here.model_dump(mode="json")
    for name in ("match", "learning_rates", "validations"):
        if then[name] != now[name]:
            raise _other(folder, name, then[name], now[name])
    for name in ("budgets", "seeds"):
        missing = [value for value in then[name] if value not in now[name]]
        if missing or (name == "seeds" and then[name][0] != now[name][0]):
            raise _other(folder, name, then[name], now[name])
    first = there.models[0].name, here.models[0].name
    if first[0] != first[1]:
        raise _other(folder, "the first spec", *first)
    models = {model["name"]: model for model in now["models"]}
    for model in then["models"]:
        if model["name"] not in models:
            raise _other(folder, "specs and controls", f"with {model['name']}", "without")
        for path, left, right in differences(model, models[model["name"]], model["name"]):
            if not path.endswith(".operations") and not path.endswith(".source"):
                raise _other(folder, path.replace(".fields", ""), left, right)


def _other(folder: Path, name: str, there: Any, here: Any) -> ValueError:
    return ValueError(
        f"{folder} holds a comparison with other arguments: {name} ({there!r} there, {here!r} here); use the "
        "same, to which seeds, budgets and specs may be added, or another --out"
    )
