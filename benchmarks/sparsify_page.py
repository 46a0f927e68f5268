"""Write docs/sparsify.md from the small files in benchmarks/results/sparsify/.

    python -m benchmarks.sparsify_page

`page.md` there holds the text: `{{table MODEL}}`, `{{longer MODEL}}`, `{{kinds MODEL}}`, `{{times MODEL}}`
and `{{settings MODEL}}` are replaced by what the runs of a demonstration found, `{{figure MODEL}}` by a
figure in docs/static/. What has no result is listed as not run.
"""

import io
import re
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from benchmarks.sparsify_runs import CONTROLS, LONGER, LONGER_STEPS, PARTS, RATES, RESULTS, SEEDS, Run, read

PAGE = Path(__file__).parent.parent / "docs" / "sparsify.md"
STATIC = PAGE.parent / "static"
Found = Mapping[str, Any]
Read = Callable[[str], Found | None]
CONTROL_NAMES = {
    "learned": "learned",
    "random": "random, same rates",
    "even": "random, one rate",
    "dropped": "parts dropped for good",
}
COLORS = {"learned": "#0f766e", "random": "#c2410c", "even": "#ca8a04", "dropped": "#4338ca"}
SHOWN = {"minilm": "recall at 10", "llama": "bits per byte"}
"""The measure of the figure."""


def table(model: str, read: Read = read) -> list[str]:
    """Quality, operations and seconds of all models, means over seeds, and what was not run."""
    dense = read(f"{model}-dense")
    if dense is None:
        return ["Not run."]
    measures = list(dense["quality"])
    heads = ["parts", "rate", "decided", *measures, "operations", "time"]
    if "tokens per second" in dense:
        heads.append("decoded tokens per second")
    lines = [_line(heads), "| --- " * len(heads) + "|", _row(("none", "", "dense"), [dense])]
    continued = read(f"{model}-continued")
    if continued is not None:
        lines.append(_row(("none", "", "dense, trained on for as long"), [continued]))
    for parts, rate, control, found in _groups(model, read):
        if found:
            label = (parts, f"{100 * rate:.0f} %", CONTROL_NAMES[control])
            lines.append(_row(label, found))
    return [*lines, "", *_missing(model, read)]


def longer(model: str, read: Read = read) -> list[str]:
    """Quality and operations of models that were distilled for longer, beside those of few steps."""
    measures = list((read(f"{model}-dense") or {"quality": ()})["quality"])
    heads = ["rate", "decided", "steps", *measures, "operations"]
    lines = [_line(heads), "| --- " * len(heads) + "|"]
    for rate, control, steps in product(LONGER[model], CONTROLS, (None, LONGER_STEPS)):
        found = read(Run(model, "both", rate, control, 0, steps).name)
        cells = [str(steps or ""), *["not run"] * (len(measures) + 1)]
        if found is not None:
            values = (f"{found['quality'][name]:.3f}" for name in measures)
            share = f"{100 * found['cost']['operations']:.3g} %"
            cells = [str(found["settings"]["steps"]), *values, share]
        lines.append(_line([f"{100 * rate:.0f} %", CONTROL_NAMES[control], *cells]))
    return lines


def kinds(model: str, read: Read = read) -> list[str]:
    """By kind of token, the share of the parts that compute it: of learned runs, means over seeds."""
    groups = [group for group in _groups(model, read) if group[2] == "learned" and group[3]]
    if not groups:
        return ["Not run."]
    names = sorted(groups[0][3][0]["kinds of tokens"])
    heads = ["parts", "rate", *names]
    lines = [_line(heads), "| --- " * len(heads) + "|"]
    share = [f"{100 * groups[0][3][0]['kinds of tokens'][name][1]:.0f} %" for name in names]
    lines.append(_line(["of all tokens", "", *share]))
    for parts, rate, _, found in groups:
        computed = [mean(each["kinds of tokens"][name][0] for each in found) for name in names]
        lines.append(_line([parts, f"{100 * rate:.0f} %", *(f"{100 * each:.0f} %" for each in computed)]))
    return lines


def times(model: str, read: Read = read) -> list[str]:
    """Time and operations by the share of tokens that parts compute at random."""
    found = read(f"{model}-time")
    if found is None:
        return ["Not run."]
    rates = sorted({each["rate"] for each in found["times"]}, reverse=True)
    heads = ["parts", *(f"{100 * rate:.0f} %" for rate in rates)]
    lines = [_line(heads), "| --- " * len(heads) + "|"]
    for parts in PARTS:
        by_rate = {each["rate"]: each for each in found["times"] if each["parts"] == parts}
        cells = (f"{100 * by_rate[r]['time']:.0f} ({100 * by_rate[r]['operations']:.0f})" for r in rates)
        lines.append(_line([parts, *cells]))
    return lines


def settings(model: str, read: Read = read) -> list[str]:
    """The settings of the runs that there are."""
    found = [each for *_, group in _groups(model, read) for each in group]
    if not found:
        return ["No run was made."]
    dense_steps = (read(f"{model}-dense") or {}).get("dense steps")
    trained = f"The dense model was trained for {dense_steps} steps. " if dense_steps else ""
    steps = sorted({each["settings"]["steps"] for each in found})
    rows, length = found[0]["batch"]
    seconds = [each["distillation seconds"] for each in found]
    return [
        f"{trained}Distilled for {', '.join(map(str, steps))} steps of {rows} rows of up to {length} tokens, "
        f"in {median(seconds):.0f} seconds (median) on {found[0]['threads']} thread of a machine that did "
        f"other work beside it; torch {found[0]['torch']}."
    ]


def figure(model: str, read: Read = read) -> bytes | None:
    """Quality against operations of all runs, as SVG; None without runs."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    dense, measure = read(f"{model}-dense"), SHOWN[model]
    groups = [group for group in _groups(model, read) if group[3]]
    if dense is None or not groups:
        return None
    drawing = Figure(figsize=(9, 4), layout="constrained")
    axes = drawing.add_subplot()
    axes.axhline(dense["quality"][measure], color="#6b7280", lw=1, ls="--", label="dense")
    markers = dict(zip(PARTS, "osD", strict=True))
    for parts, _, control, found in groups:
        axes.scatter(
            [100 * each["cost"]["operations"] for each in found],
            [each["quality"][measure] for each in found],
            color=COLORS[control],
            marker=markers[parts],
            label=f"{parts}, {CONTROL_NAMES[control]}",
        )
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    drawing.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=8, frameon=False)
    axes.set_xlabel("operations, % of the dense model's")
    axes.set_ylabel(measure)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "sparsify", "svg.fonttype": "none"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def page(folder: Path = RESULTS, read: Read = read) -> str:
    """The text of docs/sparsify.md."""
    made = {"table": table, "longer": longer, "kinds": kinds, "settings": settings, "times": times}

    def filled(match: re.Match[str]) -> str:
        what, model = match.groups()
        if what == "figure":
            if figure(model, read) is None:
                return ""
            path = f"static/sparsify_{model}.svg"
            alt = f"{SHOWN[model]} against operations, by parts and by how skipping is decided"
            return f"```{{image}} {path}\n:alt: {alt}\n:width: 100%\n```"
        return "\n".join(made[what](model, read))

    text = re.sub(r"\{\{(\w+) (\w+)\}\}", filled, (folder / "page.md").read_text())
    return re.sub(r"\n{3,}", "\n\n", text)


def _groups(model: str, read: Read) -> list[tuple[str, float, str, list[Found]]]:
    """Runs that differ in their seed alone, and what those that were made found."""
    groups = []
    for parts in PARTS:
        for rate in sorted(RATES[model], reverse=True):
            for control in CONTROLS:
                runs = (read(Run(model, parts, rate, control, seed).name) for seed in range(SEEDS[model]))
                groups.append((parts, rate, control, [found for found in runs if found is not None]))
    return groups


def _missing(model: str, read: Read) -> list[str]:
    lines = []
    for parts in PARTS:
        for n in range(SEEDS[model], 0, -1):
            lacking = [
                f"{100 * rate:.0f} % {control}"
                for each, rate, control, found in _groups(model, read)
                if each == parts and SEEDS[model] - len(found) == n
            ]
            if lacking:
                lines.append(f"- Not run, of {parts}: {n} of {SEEDS[model]} seeds of {', '.join(lacking)}.")
    return lines


def _row(label: tuple[str, str, str], found: list[Found]) -> str:
    cells = [_spread([each["quality"][name] for each in found]) for name in found[0]["quality"]]
    costs = [each.get("cost", {"operations": 1.0, "time": 1.0}) for each in found]
    for name in ("operations", "time"):
        shares = [100 * each[name] for each in costs if each[name] is not None]
        cells.append(_spread(shares, " %") if shares else "-")
    if "tokens per second" in found[0]:
        speeds = [each["tokens per second"] for each in found]
        cells.append("-" if None in speeds else _spread(speeds))
    return _line([*label, *cells])


def _spread(values: list[float], unit: str = "") -> str:
    text = f"{mean(values):.3g}" if abs(mean(values)) >= 10 else f"{mean(values):.3f}"
    return text + (f" ± {stdev(values):.2g}" if len(values) > 1 else "") + unit


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    for model in SHOWN:
        drawn = figure(model)
        if drawn is not None:
            (STATIC / f"sparsify_{model}.svg").write_bytes(drawn)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
