"""A model that is checked: a copy of it, how it is called and rounded, and how a program builds it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from sma.testing.black_box.callers.caller import Caller
from sma.testing.black_box.inputs import sample
from sma.testing.black_box.programs import Outcome, Trial, failure, program
from sma.testing.black_box.sources import with_builder

DTYPES = {torch.float64: "double", torch.float32: "float"}
"""The precisions of the checks, and the methods that convert a module or a tensor to them."""
SLACK = 20
"""How many times the rounding of float32 a difference may be: sums in another order, through every layer."""
LEAST, MOST = 1e-6, 1e-3
"""The tolerance, relative to the largest result: not less, not more."""
WITHOUT_FLOAT64 = 1e-4
"""The tolerance of a model that does not run in float64."""
_REMEDY = (
    "give a function without arguments that stands by its name in a module, or source=, lines of Python that "
    "set `model`"
)


@dataclass(frozen=True)
class Subject:
    """A model that is checked.

    Attributes:
        model: a copy of the user's, in float32 and in evaluation.
        caller: how it is called.
        tolerance: relative to the largest result; what is beyond it is not rounding.
        drift: how far float32 is from float64, relative to the largest result; None: it does not run in it.
        source: lines of Python that set `model`; None: not known.
        max_length: of the rows that are drawn.
        builder: builds the model, as `source` does; None: not given.
        build: the name by which `source` calls it.
    """

    model: nn.Module
    caller: Caller
    tolerance: float
    drift: float | None
    source: tuple[str, ...] | None
    max_length: int
    builder: Callable[[], nn.Module] | None = None
    build: str = "build"

    @property
    def saving(self) -> tuple[str, ...] | None:
        """Lines that save the model and set `again` to one that is loaded; None: not offered."""
        if self.builder is not None:
            return _through_file(f"{self.build}()")
        if hasattr(self.model, "spec"):
            return _through_file("type(model.spec).model_validate_json(model.spec.model_dump_json()).build()")
        return self.caller.saving()

    def names(self, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
        """What the lines of a trial may use, the model a copy of its own: trials may change it."""
        names = names_for(copied(self.model, dtype), self.caller, dtype)
        return names if self.builder is None else {**names, self.build: self.builder}

    def program(self, trial: Trial) -> str:
        """The program that repeats a trial without this project's checks."""
        given = "model" if self.builder is None else f"model, {self.build}"
        source = self.source or (f"from your_code import {given}  # that was checked",)
        setup = (*self.caller.setup, *self.caller.inputs.setup("float"))
        return program((*source, "model = model.float().eval()"), setup, trial)

    @cached_property
    def why_not_run(self) -> str:
        """Why a program that builds and calls the model cannot be run by itself; empty: it can be."""
        if self.source is None:
            return f"{self._given()}; {_REMEDY}"
        x = self.caller.inputs.tensor(sample(self.caller.inputs, 2, self.max_length))
        calls = self.program(Trial((f"x = {x}", self.caller.forward()), measure="0.0"))
        said = failure(calls)
        return said and f"what builds and calls the model does not run by itself ({said}); {_REMEDY}"

    def _given(self) -> str:
        if self.builder is None:
            return "the model was given as an object"
        name = getattr(self.builder, "__qualname__", type(self.builder).__name__)
        if (module := getattr(self.builder, "__module__", None)) == "__main__":
            return f"{name} is defined in the script or notebook that runs, which programs cannot import"
        return f"{name} is not a name of the module {module}, so programs cannot import it"


def _through_file(build: str) -> tuple[str, ...]:
    """Lines that save a model's state and load it into a new model, whose own parameters are lost."""
    return (
        "import io",
        "file = io.BytesIO()",
        "torch.save(model.state_dict(), file)",
        f"again = {build}.float().eval()",
        "[p.zero_() for p in again.parameters()]",
        "again.load_state_dict(torch.load(io.BytesIO(file.getvalue())))",
    )


def names_for(model: nn.Module, caller: Caller, dtype: torch.dtype) -> dict[str, Any]:
    """What the lines of a trial may use, with a model in a precision."""
    names: dict[str, Any] = {"torch": torch, "model": model, **caller.names}
    exec("\n".join(caller.inputs.setup(DTYPES[dtype])), names)
    return names


def copied(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in another precision, in evaluation and without gradients.

    Raises:
        ValueError: if it cannot be copied or converted, as quantised models cannot.
    """
    try:
        other = copy.deepcopy(model).to(dtype).eval()
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} cannot be copied in {str(dtype).removeprefix('torch.')} "
            f"({type(error).__name__}: {error}); check it before it is quantised, compiled or sharded"
        ) from error
    other.zero_grad(set_to_none=True)
    return other


def prepare(
    model: nn.Module,
    caller: Caller,
    *,
    source: tuple[str, ...] | None,
    max_length: int,
    builder: Callable[[], nn.Module] | None = None,
) -> Subject:
    """Measure how far results in float32 are rounded: against those in float64, if the model runs in it.

    Raises:
        ValueError: if the model cannot be called in this way.
    """
    outcomes = {dtype: _run(copied(model, dtype), caller, dtype, max_length) for dtype in DTYPES}
    outcome, single = outcomes[torch.float32]
    _check_called(outcome, model, caller)
    exact = outcomes[torch.float64][1]
    tolerance, drift = WITHOUT_FLOAT64, None
    if exact is not None and single is not None:
        error = (single.double() - exact.double()).abs().flatten(0, -2).amax(-1).median()
        drift = float(error / exact.abs().max().clamp(min=1e-9))
        tolerance = min(max(SLACK * drift, LEAST), MOST)
    build = "build"
    if builder is not None:
        source, build = with_builder(source)
    kept = copied(model, torch.float32)
    return Subject(kept, caller, tolerance, drift, source, max_length, builder, build)


def _run(
    model: nn.Module, caller: Caller, dtype: torch.dtype, max_length: int
) -> tuple[Outcome, Tensor | None]:
    """What comes of a call on a batch, and its result if there is one."""
    kept: list[Tensor] = []
    trial = Trial(
        (
            "torch.set_grad_enabled(False)",
            f"x = {caller.inputs.tensor(sample(caller.inputs, 2, max_length))}",
            f"kept.append({caller.forward()})",
        ),
        measure="float(kept[0].isfinite().all())",
    )
    outcome = trial.run({**names_for(model, caller, dtype), "kept": kept}, 0)
    return outcome, kept[0] if kept else None


def _check_called(outcome: Outcome, model: nn.Module, caller: Caller) -> None:
    """Raise ValueError if a model cannot be called, or does not return numbers."""
    if outcome.error is not None:
        raise ValueError(
            f"{type(model).__name__} cannot be called as {caller.forward()} ({type(outcome.error).__name__}: "
            f"{outcome.error}); give a function call(model, x, mask) that calls it"
        ) from outcome.error
    if outcome.difference != 1:
        raise ValueError(f"{type(model).__name__} returns values that are not finite; check its weights")
