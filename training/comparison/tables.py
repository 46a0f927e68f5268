"""Tables of a comparison: one per budget, as rows of text that a terminal and a page show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sma.training.comparison.measurements import Comparison, RunRecord
from sma.training.comparison.statistics import Difference, crossings, paired_difference, summary

HEADS = ("model", "quality", "difference", "operations", "seconds", "memory", "steps", "parameters", "active")
NONE = "-"


@dataclass(frozen=True)
class BudgetTable:
    """What the models reached with one budget.

    Attributes:
        title: names the budget.
        heads: of the columns.
        rows: of each model that has a run.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def budget_table(comparison: Comparison, budget: float) -> BudgetTable:
    """The table of a budget, the best model first."""
    reached = [(model.name, comparison.of(model.name, budget)) for model in comparison.models]
    ranked = sorted(
        ((name, runs) for name, runs in reached if runs),
        key=lambda pair: summary([run.quality for run in pair[1].values()]).mean,
        reverse=not comparison.lower_is_better,
    )
    first = comparison.models[0].name
    heads = ("model", comparison.measure, f"difference to {first}", *HEADS[3:])
    rows = [_row(comparison, name, budget, list(runs.values())) for name, runs in ranked]
    return BudgetTable(f"{amount(budget)} {comparison.match}", heads, rows)


def _row(comparison: Comparison, name: str, budget: float, runs: list[RunRecord]) -> list[str]:
    first = comparison.models[0].name
    difference = None
    if name != first:
        own, others = (
            {seed: run.quality for seed, run in comparison.of(model, budget).items()}
            for model in (name, first)
        )
        difference = paired_difference(own, others)
    headline = comparison.headline
    return [
        name,
        spread([run.quality for run in runs], headline),
        NONE if difference is None else signed(difference, headline),
        _mean(runs, lambda run: run.operations, amount),
        _mean(runs, lambda run: run.seconds, lambda value: f"{value:.1f}"),
        _mean(runs, lambda run: run.peak_memory, lambda value: f"{value / 2**20:.0f} MiB"),
        _mean(runs, lambda run: run.steps, lambda value: f"{value:,.0f}"),
        _mean(runs, lambda run: run.parameters, amount),
        _mean(runs, lambda run: run.mean_rate, lambda value: f"{100 * value:.0f} %"),
    ]


def _mean(
    runs: Sequence[RunRecord], of: Callable[[RunRecord], float | None], show: Callable[[float], str]
) -> str:
    values = [value for value in map(of, runs) if value is not None]
    return show(sum(values) / len(values)) if len(values) == len(runs) else NONE


def spread(values: Sequence[float], headline: str) -> str:
    """Mean, standard deviation and number of some values.

    Example:
        >>> spread([0.5, 0.52], "accuracy")
        '51.00 % ± 1.41 (2)'
    """
    found = summary(values)
    deviation = "" if found.deviation is None else f" ± {shown(found.deviation, headline)}"
    return f"{shown(found.mean, headline)}{unit(headline)}{deviation} ({found.n})"


def signed(difference: Difference, headline: str) -> str:
    """A difference with its interval."""
    mean = shown(difference.mean, headline, sign=True)
    if difference.low is None or difference.high is None:
        return f"{mean} ({difference.n} pair)"
    ends = " to ".join(shown(end, headline, sign=True) for end in (difference.low, difference.high))
    return f"{mean} [{ends}]"


def shown(value: float, headline: str, *, sign: bool = False) -> str:
    """A value of the measure, in points of percent for accuracy."""
    plus = "+" if sign else ""
    return f"{100 * value:{plus}.2f}" if headline == "accuracy" else f"{value:{plus}.3f}"


def unit(headline: str) -> str:
    """What follows a value that stands alone."""
    return " %" if headline == "accuracy" else ""


def amount(value: float) -> str:
    """A number with a prefix.

    Example:
        >>> amount(1.5e12), amount(250), amount(37.306), amount(12_345)
        ('1.5T', '250', '37.3', '12.3k')
    """
    for prefix, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{float(f'{value:.3g}'):g}"


def curves(comparison: Comparison) -> dict[str, dict[float, float]]:
    """The mean quality of each model by budget, where it has a run."""
    return {
        model.name: {
            budget: summary([run.quality for run in runs.values()]).mean
            for budget in comparison.budgets
            if (runs := comparison.of(model.name, budget))
        }
        for model in comparison.models
    }


def crossing_lines(comparison: Comparison) -> list[str]:
    """The crossings of curves, in words."""
    found = crossings(curves(comparison), lower_is_better=comparison.lower_is_better)
    return [
        f"{one.leads} overtakes {one.led} at about {amount(one.at)} {comparison.match} "
        f"(between {amount(one.between[0])} and {amount(one.between[1])})"
        for one in found
    ]


def missing_lines(comparison: Comparison) -> list[str]:
    """The runs that are not there, in words."""
    return [
        f"not run: {one.model}, {amount(one.budget)} {comparison.match}, seed {one.seed}: {one.reason}"
        for one in comparison.missing
    ]
