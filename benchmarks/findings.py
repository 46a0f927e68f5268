"""Write docs/results.md from the small files in benchmarks/results/.

    python -m benchmarks.findings

Every table `NAME.yaml` there says what was to be run, and `NAME.json` what was (`python -m benchmarks.runs`).
A run of a table that has no result is listed as not run. `page.md` holds the text: a line `{{table NAME}}` is
replaced by a table, and `{{NAME: ...}}` by a figure of it, see `figure`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.runs import Results, Table, read_results

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "results.md"
HEADER = (
    "| run | seeds | {measure} | against the first | operations | parameters | CPU s | active by layer, % |"
)
MEASURES = {"bits": "bits per byte", "accuracy": "accuracy, %"}


@dataclass(frozen=True)
class Measured:
    """The runs of one name, by seed."""

    by_seed: dict[str, dict[str, Any]]

    @property
    def headline(self) -> str:
        """`bits` or `accuracy`."""
        headline: str = next(iter(self.by_seed.values()))["headline"]
        return headline

    def values(self) -> dict[str, float]:
        """The last validation by seed: bits, or percent of right answers."""
        column, factor = (1, 1.0) if self.headline == "bits" else (2, 100.0)
        return {seed: run["curve"][-1][column] * factor for seed, run in self.by_seed.items()}

    def figure(self, value: float, *, sign: bool = False) -> str:
        """A value with the digits that its measure deserves."""
        return f"{value:{'+' if sign else ''}.{3 if self.headline == 'bits' else 1}f}"

    def field(self, name: str) -> list[Any]:
        """A field of every seed; None where it was not measured."""
        return [run[name] for run in self.by_seed.values()]

    def mean(self, name: str) -> float:
        """The mean over seeds of a field that holds a number."""
        return mean(self.field(name))


def table_lines(table: Table, results: Results) -> list[str]:
    """A table in Markdown: a line per run, the mean over seeds and their range."""
    first = next(iter(table.runs))
    measured = {name: Measured(results[name]) for name in table.runs if results.get(name)}
    if not measured:
        return ["Not run: " + "; ".join(table.runs) + "."]
    headline = next(iter(measured.values())).headline
    lines = [HEADER.format(measure=MEASURES[headline]), "| --- " * 8 + "|"]
    lines += [_line(name, run, measured.get(first)) for name, run in measured.items()]
    if missing := [name for name in table.runs if name not in measured]:
        lines += ["", f"Not run: {'; '.join(missing)}."]
    return lines


def _line(name: str, run: Measured, first: Measured | None) -> str:
    values = run.values()
    text = run.figure(mean(values.values()))
    if len(values) > 1:
        text += f" ({run.figure(min(values.values()))} to {run.figure(max(values.values()))})"
    cells = (
        name,
        ", ".join(sorted(values)),
        text,
        "" if first in (None, run) else _difference(run, first),
        f"{run.mean('operations') / 1000:,.0f}k",
        f"{run.mean('parameters') / 1000:,.0f}k",
        "-" if None in run.field("cpu_seconds") else f"{run.mean('cpu_seconds'):.0f}",
        _activation(run.by_seed.values()),
    )
    return f"| {' | '.join(cells)} |"


def _difference(run: Measured, first: Measured) -> str:
    """The mean of the differences between runs of the same seed, and their range."""
    ours, others = run.values(), first.values()
    paired = [ours[seed] - others[seed] for seed in ours if seed in others]
    if not paired:
        return "no seed in common"
    text = run.figure(mean(paired), sign=True)
    if len(paired) > 1:
        text += f" ({run.figure(min(paired), sign=True)} to {run.figure(max(paired), sign=True)})"
    return text


def _activation(runs: Iterable[dict[str, Any]]) -> str:
    layers = zip(*(run["activation"] for run in runs), strict=True)
    return ", ".join(f"{100 * mean(rates):.0f}" for rates in layers) or "-"


def figure(runs: Results, text: str) -> str:
    """A figure in the text.

    Args:
        runs: of a table.
        text: `RUN`: its mean; `RUN @ SEED`: that of a seed; `RUN - OTHER`: the paired difference;
            `RUN of NEVER to ALWAYS`: the share of that way, over the seeds that all have; `needs of RUN`: how
            its activations agree with the elements that are needed.
    """
    if text.startswith("needs of "):
        return _needs(Measured(runs[text.removeprefix("needs of ")]))
    if match := re.fullmatch(r"(.+) of (.+) to (.+)", text):
        values = [Measured(runs[name]).values() for name in match.groups()]
        seeds = set.intersection(*map(set, values))
        run, start, end = (mean(each[seed] for seed in seeds) for each in values)
        return f"{100 * (run - start) / (end - start):.0f} %"
    if " - " in text:
        run, other = (Measured(runs[name]) for name in text.split(" - "))
        return _difference(run, other)
    name, _, seed = text.partition(" @ ")
    measured = Measured({seed: runs[name][seed]} if seed else runs[name])
    return measured.figure(mean(measured.values().values()))


def _needs(run: Measured) -> str:
    """Per layer the mean over seeds of precision and recall, and how many elements are needed."""
    layers = list(zip(*(result["needs"] for result in run.by_seed.values()), strict=True))
    shares = [[f"{100 * mean(column):.0f}" for column in zip(*layer, strict=True)] for layer in layers]
    text = ", ".join(f"layer {i}: {right} and {found} %" for i, (right, found, _) in enumerate(shares, 1))
    return f"{text} ({shares[0][2]} % are needed)"


def page(folder: Path = FOLDER) -> str:
    """The text of docs/results.md."""
    tables = {path.stem: (Table.read(path), read_results(path)) for path in sorted(folder.glob("*.yaml"))}
    text = (folder / "page.md").read_text()
    text = re.sub(r"\{\{table (\w+)\}\}", lambda match: "\n".join(table_lines(*tables[match[1]])), text)
    return re.sub(r"\{\{(\w+): ([^{}]+)\}\}", lambda match: figure(tables[match[1]][1], match[2]), text)


if __name__ == "__main__":
    PAGE.write_text(page())
