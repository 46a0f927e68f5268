"""The search for an input that violates a property, shrunk to the smallest one."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, NoSuchExample

from sma.testing.black_box.programs import Outcome, Trial
from sma.testing.black_box.properties.property import Property
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw


@dataclass
class Search:
    """What a search has seen.

    Attributes:
        n_trials: inputs that were tried, before any was shrunk.
        n_refused: those that the model refused.
        refused: the smallest of these, one with a ValueError before others; None if it refused nothing.
        refusal: what came of it.
        largest: the largest difference that is not a violation.
        trial: the smallest input that violates the property; None: none was found.
        outcome: what came of it.
    """

    n_trials: int = 0
    n_refused: int = 0
    refused: Trial | None = None
    refusal: Outcome | None = None
    largest: float = 0.0
    trial: Trial | None = None
    outcome: Outcome | None = None

    def see(self, trial: Trial, outcome: Outcome, *, violates: bool) -> bool:
        """Note an outcome; whether it is a violation."""
        if self.trial is None:
            self.n_trials += 1
        if outcome.refused:
            self._see_refusal(trial, outcome)
            return False
        if violates:
            self.trial, self.outcome = trial, outcome
        elif self.trial is None:
            self.largest = max(self.largest, outcome.difference)
        return violates

    def _see_refusal(self, trial: Trial, outcome: Outcome) -> None:
        self.n_refused += 1
        if self.refused is not None and self.refusal is not None:
            before = self.refusal.stated, len(self.refused.shown)
            if (outcome.stated, len(trial.shown)) >= before:
                return
        self.refused, self.refusal = trial, outcome


class Model:
    """The model of a search, in float32, and in float64 where a difference might be rounding.

    Args:
        of: the property that is searched for.
        subject: the model.
    """

    def __init__(self, of: Property, subject: Subject) -> None:
        self.subject, self.tolerance = subject, of.tolerance(subject)
        self.rounds = of.rounds and subject.drift is not None
        self.names, self._exact = subject.names(), None  # type: dict[str, Any], dict[str, Any] | None

    def run(self, trial: Trial) -> tuple[Outcome, bool]:
        """What comes of a trial, and whether it violates the property: in float64 too, if there is one."""
        self.names["model"].eval()
        outcome = trial.run(self.names, self.tolerance)
        violates = outcome.violates(self.tolerance)
        if not violates or outcome.error is not None or not self.rounds:
            return outcome, violates
        if self._exact is None:
            self._exact = self.subject.names(torch.float64)
        self._exact["model"].eval()
        return outcome, trial.run(self._exact, self.tolerance).violates(self.tolerance)


def search(of: Property, subject: Subject, examples: int) -> Search:
    """Try a property on drawn inputs, the same ones in every run.

    A violation must show with a fresh copy of the model. If it does not, because the model remembers earlier
    calls, every input is tried on a copy of its own.

    Args:
        of: the property.
        subject: the model.
        examples: how many inputs.
    """
    model = Model(of, subject)
    seen = _find(of, subject, examples, lambda: model)
    if seen.trial is None:
        return seen
    outcome, violates = Model(of, subject).run(seen.trial)
    if not violates:
        return _find(of, subject, examples, lambda: Model(of, subject))
    seen.outcome = outcome
    return seen


def _find(of: Property, subject: Subject, examples: int, model: Callable[[], Model]) -> Search:
    seen = Search()

    def run(trial: Trial) -> bool:
        outcome, violates = model().run(trial)
        return seen.see(trial, outcome, violates=violates)

    @st.composite
    def trials(draw: Draw, /) -> Any:
        return of.trial(draw, subject)

    options = settings(
        max_examples=1 if of.once else examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
    )
    try:
        smallest = find(trials(), run, settings=options, random=Random(0))
    except (NoSuchExample, Flaky):
        return seen
    run(smallest)
    return seen
