"""Short programs: how a property is tried on a model at hand, and shown without this project."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

MEASURE = "((got - expected).abs().max() / torch.stack([got, expected]).abs().max().clamp(min=1e-9)).item()"
"""The difference that a program prints: the largest one, relative to the largest value."""
LONGEST = 110
"""Characters of a line of a program."""


@dataclass(frozen=True)
class Outcome:
    """What came of a program.

    Attributes:
        difference: that it measured; NaN if something was not a number.
        first: the index of the first result that differs by more than the tolerance.
        names: that belong to it, as of parameters.
        error: that it raised instead.
    """

    difference: float
    first: int = 0
    names: tuple[str, ...] = ()
    error: Exception | None = None

    def violates(self, tolerance: float) -> bool:
        """Whether the difference is more than a tolerance, or not a number, or there is an error."""
        return self.error is not None or not self.difference <= tolerance

    @property
    def refused(self) -> bool:
        """Whether the model says that it does not do what it was asked: `stated`, or by a ValueError."""
        return self.stated or isinstance(self.error, ValueError)

    @property
    def stated(self) -> bool:
        """Whether the model says so by a NotImplementedError, which is not raised by mistake."""
        return isinstance(self.error, NotImplementedError)


@dataclass(frozen=True)
class Trial:
    """One input on which a property is tried.

    Attributes:
        lines: Python that sets `got` and `expected`, or what `measure` reads.
        places: the row and the position of each result in `got`; position None where there is one per row.
        shown: the input, for a reader.
        measure: the expression of the difference.
        names: an expression of names that belong to it, a list of text.
    """

    lines: tuple[str, ...]
    places: tuple[tuple[int, int | None], ...] = ()
    shown: str = ""
    measure: str = MEASURE
    names: str = "[]"

    def run(self, space: Mapping[str, Any], tolerance: float) -> Outcome:
        """Run the lines with the model at hand.

        Args:
            space: `torch`, `model`, and what callers and inputs need.
            tolerance: beyond which a result counts as another one.
        """
        own = dict(space)
        with torch.enable_grad():
            try:
                exec("\n".join(self.lines), own)
                difference, names = float(eval(self.measure, own)), tuple(eval(self.names, own))
            except Exception as error:
                return Outcome(float("inf"), error=error)
        first = _first(own["got"], own["expected"], tolerance) if self.places else 0
        return Outcome(difference, first, names)


def _first(got: Tensor, expected: Tensor, tolerance: float) -> int:
    """The index of the first of the results, all dimensions but the last, that differs."""
    size = torch.stack([got, expected]).abs().max().clamp(min=1e-9)
    wrong = ~((got - expected).abs() / size <= tolerance)
    found = wrong.flatten(0, -2).any(-1).nonzero().flatten().tolist()
    return found[0] if found else 0


def program(source: Sequence[str], setup: Sequence[str], trial: Trial) -> str:
    """A program that builds the model, repeats a trial, and prints the difference.

    Args:
        source: lines that set `model`.
        setup: lines that the trial needs.
        trial: the trial.
    """
    names = "" if trial.names == "[]" else f"*{trial.names}, "
    lines = ["import torch", *source, *setup, *trial.lines, f"print({names}{trial.measure})"]
    return "\n".join(_imports_first(lines)) + "\n"


def _imports_first(lines: Sequence[str]) -> list[str]:
    imports = dict.fromkeys(line for line in lines if line.startswith(("import ", "from ")))
    return [*imports, *(line for line in lines if line not in imports)]


def confirm(text: str, tolerance: float, error: Exception | None, seconds: float = 120) -> bool:
    """Whether a program, run by itself, shows what was found.

    Args:
        text: the program.
        tolerance: that the printed difference must exceed.
        error: what was raised instead of a difference.
        seconds: after which the program is stopped, and has shown nothing.
    """
    done = _run(text, seconds)
    if done is None:
        return False
    if error is not None:
        return done.returncode != 0 and type(error).__name__ in _last_line(done)
    if done.returncode != 0:
        return False
    return not float(done.stdout.split()[-1]) <= tolerance


def failure(text: str, seconds: float = 120) -> str:
    """Why a program, run by itself, fails: the last line that it says; empty if it does not fail.

    Args:
        text: the program.
        seconds: after which it is stopped, and has failed.
    """
    done = _run(text, seconds)
    if done is None:
        return f"it takes more than {seconds:g} s"
    return "" if done.returncode == 0 else _last_line(done) or f"exit code {done.returncode}"


def _run(text: str, seconds: float) -> "subprocess.CompletedProcess[str] | None":
    """Run a program by itself, with the modules that can be imported here; None: it takes too long."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(text, encoding="utf-8")
        paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            return subprocess.run(
                [sys.executable, str(path)],
                capture_output=True,
                text=True,
                timeout=seconds,
                env={**os.environ, "PYTHONPATH": paths},
            )
        except subprocess.TimeoutExpired:
            return None


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stderr.strip().splitlines() or [""])[-1]
