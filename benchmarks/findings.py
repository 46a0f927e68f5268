"""Write docs/results.md from the small files in benchmarks/results/.

    python -m benchmarks.findings

Every comparison `NAME.yaml` there says what was to be run, and `NAME.json` what was (`python -m
benchmarks.comparisons`). What has no result is listed as not run. `page.md` holds the text: a line
`{{table NAME}}` is replaced by the tables of a comparison, and `{{NAME: ...}}` by a figure, see `figure`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean

from benchmarks.comparisons import Measured, Study, read, run_name
from sma.training.comparison.measurements import RunRecord
from sma.training.comparison.statistics import paired_difference
from sma.training.comparison.tables import amount, budget_table, crossing_lines, shown, signed

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "results.md"


def table_lines(study: Study, found: Measured | None) -> list[str]:
    """The tables of a comparison in Markdown, one per budget, and what was not run."""
    lines: list[str] = []
    for budget in found.budgets if found else ():
        table = budget_table(found, budget)
        if table.rows:
            lines += [f"At {table.title}:", "", _line(table.heads), "| --- " * len(table.heads) + "|"]
            lines += [*map(_line, table.rows), ""]
    if found:
        lines += [f"- {line}" for line in crossing_lines(found)]
    missing = _missing(study, found)
    return [*lines, *([""] if lines and lines[-1] else []), *missing] if missing else lines


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _missing(study: Study, found: Measured | None) -> list[str]:
    """A line for each budget and number of runs that are not there."""
    lines = []
    for budget in study.budgets:
        lacking: dict[int, list[str]] = {}
        for name in study.names:
            n = study.seeds - (len(found.of(name, budget)) if found else 0)
            if n > 0:
                lacking.setdefault(n, []).append(name)
        for n, names in sorted(lacking.items()):
            which = "all models" if len(names) == len(study.names) else ", ".join(names)
            at = f"{amount(budget)} {study.match}, " if len(study.budgets) > 1 else ""
            lines.append(f"Not run: {at}{n} of {study.seeds} seeds of {which}.")
    return lines


def figure(found: Measured, text: str) -> str:
    """A figure in the text, over the seeds that were run.

    Args:
        found: of a comparison.
        text: `MODEL`: its mean; `MODEL - OTHER`: the paired difference with its interval; `MODEL of A to B`:
            the share of that way; `rates of MODEL`: how many elements are active, by layer; `needs of MODEL`:
            how its activations agree with the needed elements. `... @ BUDGET`: another than the last.
    """
    text, _, at = text.partition(" @ ")
    budget = float(at) if at else found.budgets[-1]
    if match := re.fullmatch(r"(.+) of (.+) to (.+)", text):
        values = [_quality(found.of(name, budget)) for name in match.groups()]
        seeds = set.intersection(*map(set, values))
        run, start, end = (mean(each[seed] for seed in seeds) for each in values)
        return f"{100 * (run - start) / (end - start):.0f} %"
    kind, sign, name = text.partition(" of ")
    if sign:
        runs = found.of(name, budget).values()
        return _rates(runs) if kind == "rates" else _needs(found, runs)
    name, sign, other = text.partition(" - ")
    values = _quality(found.of(name, budget))
    if not sign:
        return shown(mean(values.values()), found.headline)
    difference = paired_difference(values, _quality(found.of(other, budget)))
    if difference is None:
        raise ValueError(f"{name} and {other} have no seed in common")
    return signed(difference, found.headline)


def _quality(runs: Mapping[int, RunRecord]) -> dict[int, float]:
    if not runs:
        raise ValueError("a figure of page.md is of a model that was not run")
    return {seed: run.quality for seed, run in runs.items()}


def _rates(runs: Iterable[RunRecord]) -> str:
    """Per layer, the mean over seeds of the share of elements that are active."""
    layers = zip(*([rate for rates in run.rates.values() for rate in rates] for run in runs), strict=True)
    return ", ".join(f"{100 * mean(rates):.0f}" for rates in layers) + " %"


def _needs(found: Measured, runs: Iterable[RunRecord]) -> str:
    """Per layer the mean over seeds of precision and recall, and how many elements are needed."""
    layers = [
        [each for each in layer if each.name != "any"]
        for layer in zip(*(found.needs[run_name(run)] for run in runs), strict=True)
    ]
    shares = [
        (
            100 * mean(each.precision or 0.0 for each in layer),
            100 * mean(each.recall or 0.0 for each in layer),
        )
        for layer in layers
        if layer
    ]
    text = ", ".join(f"layer {i}: {right:.0f} and {met:.0f} %" for i, (right, met) in enumerate(shares, 1))
    return f"{text} ({100 * layers[0][0].random_precision:.0f} % are needed)"


def page(folder: Path = FOLDER) -> str:
    """The text of docs/results.md."""
    studies = {path.stem: Study.read(path) for path in sorted(folder.glob("*.yaml"))}
    kept = {name: read(folder / f"{name}.json") for name in studies}

    def shown_figure(match: re.Match[str]) -> str:
        found = kept[match[1]]
        if found is None:
            raise ValueError(f"{{{{{match[1]}: {match[2]}}}}}: the comparison was not run")
        return figure(found, match[2])

    text = (folder / "page.md").read_text()
    text = re.sub(
        r"\{\{table (\w+)\}\}", lambda match: "\n".join(table_lines(studies[match[1]], kept[match[1]])), text
    )
    return re.sub(r"\{\{(\w+): ([^{}]+)\}\}", shown_figure, text)


if __name__ == "__main__":
    PAGE.write_text(page())
