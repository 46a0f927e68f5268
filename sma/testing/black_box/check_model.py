"""The check of any model for the properties of this project."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any

import torch
from torch import nn

from sma.checks import check_sizes
from sma.testing.black_box.callers.choosing import choose_caller, is_pretrained
from sma.testing.black_box.callers.pretrained import quiet
from sma.testing.black_box.limits import limit_of
from sma.testing.black_box.programs import Outcome, Trial, confirm
from sma.testing.black_box.properties.all_properties import named
from sma.testing.black_box.properties.determinism import Determinism
from sma.testing.black_box.properties.property import Property
from sma.testing.black_box.report import Finding, Report, Verdict
from sma.testing.black_box.searching import search
from sma.testing.black_box.sources import source_of
from sma.testing.black_box.subject import Subject, copied, prepare

_PACKAGES = ("torch", "transformers")
_AGAIN = 10
"""Inputs on which a violation is looked into: whether another way of calling mends it, or calls differ."""
_WHY_NOT_A_MODEL = "give a torch.nn.Module, or a function without arguments that returns one"


def check_model(
    model: nn.Module | Callable[[], nn.Module],
    *,
    call: Callable[..., Any] | None = None,
    vocab_size: int | None = None,
    d_model: int | None = None,
    causal: bool | None = None,
    window: int | None = None,
    properties: Sequence[str] | None = None,
    examples: int = 25,
    max_length: int = 10,
    source: Sequence[str] | None = None,
    confirmed: bool = True,
) -> Report:
    """Check a model for the properties that hold of this project's own: padding, cache, batches, causality.

    As a black box, on the CPU, in float32; a difference counts that float64 has too, where the model runs in
    it, and that is more than rounding. Models of transformers, of this project and modules
    `(B, L, D) -> (B, L, D)` are called as they are made to be; others by a function of yours. What fails is
    shrunk by Hypothesis to the smallest input, and shown by a program of its own.

    Args:
        model: the model, which is copied and not changed; or a function without arguments that builds it,
            which programs import and call.
        call: `call(model, x)` or `call(model, x, mask)`, which returns `(B, L, K)` or `(B, K)`; `mask` is
            `(B, L)` bool, True at real elements, or None. None: found by the kind of model.
        vocab_size: of a model that reads tokens `(B, L)`; None: found.
        d_model: D of a model that reads `(B, L, D)`; None: found.
        causal: whether results depend on nothing after them; None: as the model says.
        window: how many elements it sees, or cuts rows into; None: as it says.
        properties: names of those to try; None: all.
        examples: inputs per property.
        max_length: of the rows that are drawn.
        source: lines of Python that set `model`, for the programs; None: found where possible.
        confirmed: whether the programs of violations are run.

    Returns:
        A finding for each property, with those that were not tried, and why.

    Raises:
        ValueError: if the model cannot be copied, or it is not known what it reads or how it is called.

    Example:
        >>> class Total(nn.Module):
        ...     d_model, causal = 4, True
        ...     def forward(self, x):
        ...         return x.sum(1, keepdim=True) + 0 * x
        >>> report = check_model(Total(), properties=["causality", "batch-mates"])
        >>> report.ok, report["batch-mates"].verdict, report["causality"].input
        (False, 'holds', 'x = table [[0, 0]], other = table [[0]]')
    """
    start, tried = time.perf_counter(), named(properties)
    check_sizes(examples=examples, max_length=max_length)
    if window is not None:
        check_sizes(window=window)
    if max_length < 2:
        raise ValueError(f"max_length={max_length} leaves nothing before or after an element; use at least 2")
    builder = None if isinstance(model, nn.Module) else model
    with ExitStack() as stack:
        stack.enter_context(_random_state_kept())
        built = model if isinstance(model, nn.Module) else _built(model)
        if is_pretrained(built):
            stack.enter_context(quiet())
        copy = copied(built, torch.float32)
        caller = choose_caller(copy, call=call, vocab_size=vocab_size, d_model=d_model, causal=causal)
        caller.window = caller.window if window is None else window
        lines = source_of(built, builder) if source is None else tuple(source)
        subject = prepare(copy, caller, source=lines, max_length=max_length, builder=builder)
        findings = tuple(_finding(each, subject, examples, confirmed) for each in tried)
        not_run = confirmed and any(found.program and found.confirmed is None for found in findings)
        why_not_run = subject.why_not_run if not_run else ""
    return Report(
        type(built).__name__,
        subject.tolerance,
        subject.drift,
        findings,
        {name: found for name in _PACKAGES if (found := _version(name))},
        time.perf_counter() - start,
        why_not_run,
    )


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Leave the random numbers that are drawn afterwards as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    state = random.getstate()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(state)


def _built(builder: Any) -> nn.Module:
    """The model that a function builds."""
    if not callable(builder):
        raise ValueError(f"model is of type {type(builder).__name__}; {_WHY_NOT_A_MODEL}")
    name = getattr(builder, "__name__", "the function")
    try:
        model = builder()
    except Exception as error:
        raise ValueError(
            f"{name}() raises {type(error).__name__}: {_line(error)}; {_WHY_NOT_A_MODEL}"
        ) from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name}() returns {type(model).__name__}; {_WHY_NOT_A_MODEL}")
    return model


def _finding(of: Property, subject: Subject, examples: int, confirmed: bool) -> Finding:
    """Try a property, and say what was found."""
    if (why := of.missing(subject)) is not None:
        return Finding(of.name, "not tried", why)
    seen = search(of, subject, examples)
    trial, outcome = seen.trial or seen.refused, seen.outcome or seen.refusal
    if trial is None or outcome is None:
        return Finding(
            of.name,
            "holds",
            n_trials=seen.n_trials,
            difference=seen.largest,
            tolerance=of.tolerance(subject),
        )
    if of.optional and outcome.error is not None:
        return Finding(of.name, "not tried", f"it raises {_raised(outcome)}")
    verdict: Verdict
    if seen.trial is None:
        verdict = "limit" if outcome.stated else "refused"
        every = seen.n_refused == seen.n_trials
        reason = f"so the model says for {'every input' if every else f'{seen.n_refused} of {seen.n_trials}'}"
    else:
        limit, otherwise = limit_of(of, subject), _otherwise(of, subject)
        if otherwise == "" and of.otherwise(subject) is not None:
            limit = None  # there is a fault beside what the documentation names
        verdict, reason = ("limit", limit) if limit else ("violated", otherwise)
    return _failure(of, subject, seen.n_trials, trial, outcome, verdict, reason, confirmed=confirmed)


def _failure(
    of: Property,
    subject: Subject,
    n_trials: int,
    trial: Trial,
    outcome: Outcome,
    verdict: Verdict,
    reason: str,
    *,
    confirmed: bool,
) -> Finding:
    """What was found where a property does not hold, confirmed by its program."""
    text, tolerance = subject.program(trial), of.tolerance(subject)
    shows = confirm(text, tolerance, outcome.error) if confirmed and subject.source is not None else None
    if shows is False and subject.why_not_run:
        shows = None  # the program says nothing about the model
    if shows is False and verdict != "limit":
        verdict, reason = "unconfirmed", _why_not_shown(subject)
    row, position = trial.places[outcome.first] if trial.places and outcome.error is None else (None, None)
    return Finding(
        name=of.name,
        verdict=verdict,
        reason=reason,
        n_trials=n_trials,
        difference=outcome.difference if isfinite(outcome.difference) else None,
        tolerance=tolerance,
        input=trial.shown,
        row=row,
        position=position,
        error=_raised(outcome) if outcome.error is not None else "",
        names=outcome.names,
        program=text,
        confirmed=shows,
    )


def _otherwise(of: Property, subject: Subject) -> str:
    """What it says of a model that a property, which is violated, holds where it is called in another way."""
    other = of.otherwise(subject)
    if other is None or search(other[0], subject, _AGAIN).trial is not None:
        return ""
    return other[1]


def _why_not_shown(subject: Subject) -> str:
    """Why a program, which builds the model anew, does not show what was found."""
    if search(Determinism(), subject, _AGAIN).trial is not None:
        return "its program does not show it: the model's results differ between calls"
    return (
        "its program does not show it: it depends on earlier calls, or on weights that the program draws anew"
    )


def _raised(outcome: Outcome) -> str:
    return f"{type(outcome.error).__name__}: {_line(outcome.error)}"


def _line(error: BaseException | None) -> str:
    return " ".join(str(error).split())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
