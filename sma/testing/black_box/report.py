"""Findings of a check, as text and JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from typing_extensions import override

Verdict = Literal["holds", "violated", "refused", "unconfirmed", "limit", "not tried"]


@dataclass(frozen=True)
class Finding:
    """What was found of one property.

    Attributes:
        name: of the property.
        verdict: whether it holds of all inputs that were tried; `limit`: it does not, as the architecture's
            documentation says, or the model itself by a NotImplementedError; `refused`: the model raises a
            ValueError, and whether it means to is not known; `unconfirmed`: it was violated, but not in the
            program that repeats it.
        reason: why it was not tried, what the documentation says, or what else there is to know.
        n_trials: inputs that were tried.
        difference: of a violation; else the largest that was seen. Relative to the largest result, but for
            idle parts the number of parameters. None if something was not a number.
        tolerance: beyond which a difference is a violation.
        input: the smallest input that violates it.
        row: the row of the first result that differs.
        position: its position in the row; None where there is one result per row.
        error: that was raised in place of a result.
        names: of what differs, such as parameters.
        program: shows the violation without this project.
        confirmed: whether the program, run by itself, showed it; None: it was not run.
    """

    name: str
    verdict: Verdict
    reason: str = ""
    n_trials: int = 0
    difference: float | None = None
    tolerance: float | None = None
    input: str = ""
    row: int | None = None
    position: int | None = None
    error: str = ""
    names: tuple[str, ...] = ()
    program: str = ""
    confirmed: bool | None = None

    @override
    def __str__(self) -> str:
        return f"{self.verdict:<12}{self.name:<28}{self.detail}"

    @property
    def detail(self) -> str:
        """What was found, in one line."""
        return "; ".join(part for part in (self._found(), self.reason) if part)

    def _found(self) -> str:
        if self.verdict == "not tried" or not self.n_trials:
            return ""
        if self.verdict == "holds":
            inputs = "1 input" if self.n_trials == 1 else f"{self.n_trials} inputs"
            return f"{inputs}, largest difference {_number(self.difference)}"
        return f"{self._violation()} with {self.input}" if self.input else self._violation()

    def _violation(self) -> str:
        if self.error:
            return self.error
        if self.names:
            more = f" and {len(self.names) - 3} more" if len(self.names) > 3 else ""
            return f"no gradient for {', '.join(self.names[:3])}{more}"
        at = "" if self.row is None else f" in row {self.row}"
        at += "" if self.position is None else f", position {self.position}"
        return f"differs by {_number(self.difference)}{at}"


@dataclass(frozen=True, repr=False)
class Report:
    """What was found of a model.

    Attributes:
        model: its class.
        tolerance: of results, relative to the largest one.
        drift: how far float32 is from float64; None: the model does not run in it.
        findings: one for each property, in the order in which they were tried.
        versions: of the packages that took part.
        seconds: that it took.
        why_not_run: why programs that were to be run were not, and what to give instead; empty: they were.

    Example:
        >>> report = Report("Linear", 1e-6, 1e-8, (Finding("causality", "holds"),), {}, 0.1)
        >>> report.ok, report["causality"].verdict
        (True, 'holds')
    """

    model: str
    tolerance: float
    drift: float | None
    findings: tuple[Finding, ...]
    versions: dict[str, str]
    seconds: float
    why_not_run: str = ""

    @property
    def ok(self) -> bool:
        """Whether no property is violated or refused; limits, and what is unconfirmed, are neither."""
        return not self.violations and not self.refusals

    @property
    def violations(self) -> tuple[Finding, ...]:
        """The findings of properties that are violated."""
        return tuple(finding for finding in self if finding.verdict == "violated")

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings of properties whose inputs the model refuses by a ValueError."""
        return tuple(finding for finding in self if finding.verdict == "refused")

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, name: str) -> Finding:
        """The finding of a property.

        Raises:
            KeyError: if it is not in the report.
        """
        for finding in self:
            if finding.name == name:
                return finding
        raise KeyError(name)

    @override
    def __repr__(self) -> str:
        """One line, as pytest cuts longer ones off."""
        failed = {"violated": self.violations, "refused": self.refusals}
        found = [f"{verdict}: {', '.join(one.name for one in of)}" for verdict, of in failed.items() if of]
        return f"<report of {self.model}: {'; '.join(found) or 'ok'}>"

    @override
    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """All findings, then the programs of those that fail."""
        drift = "it does not run in float64"
        if self.drift is not None:
            drift = f"float32 is {_number(self.drift)} from float64"
        head = f"{self.model}: {drift}, tolerance {_number(self.tolerance)}, relative to the largest result"
        lines = [head, *map(str, self)]
        for finding in self:
            if finding.program and finding.verdict not in ("holds", "unconfirmed"):
                lines += ["", f"{finding.name}{_confirmation(finding)}:", "", finding.program.rstrip()]
        if self.why_not_run:
            lines += ["", f"programs were not run: {self.why_not_run}"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as values of JSON."""
        return asdict(self)

    def json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)


def _confirmation(finding: Finding) -> str:
    return {
        None: ", by a program that was not run",
        True: ", confirmed by this program",
        False: ", not shown by this program",
    }[finding.confirmed]


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.1g}"
