"""The figure of a comparison: quality against what it cost, with the Pareto front."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sma.lazy import needs
from sma.plots.html import FAINT, INK, LINE
from sma.training.comparison.measurements import Comparison, RunRecord
from sma.training.comparison.statistics import pareto, summary
from sma.training.figures import LAYER_COLORS, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vPX*"
COSTS: Sequence[tuple[str, Callable[[RunRecord], float | None]]] = (
    ("forward operations of training", lambda run: run.operations),
    ("seconds of training", lambda run: run.seconds),
    ("peak memory (MiB)", lambda run: None if run.peak_memory is None else run.peak_memory / 2**20),
)
Point = tuple[float, float]


def mean_points(
    comparison: Comparison, cost: Callable[[RunRecord], float | None]
) -> dict[tuple[str, float], Point]:
    """Mean cost and mean quality of each model with each budget, where every run has that cost."""
    points = {}
    for model in comparison.models:
        for budget in comparison.budgets:
            runs = comparison.of(model.name, budget).values()
            costs = [value for value in map(cost, runs) if value is not None]
            if runs and len(costs) == len(runs):
                quality = summary([run.quality for run in runs]).mean
                points[model.name, budget] = (sum(costs) / len(costs), quality)
    return points


def front(points: dict[tuple[str, float], Point], *, lower_is_better: bool) -> list[tuple[str, float]]:
    """The models and budgets that no other beats, by rising cost."""
    keys = {str(i): key for i, key in enumerate(points)}
    found = pareto({name: points[key] for name, key in keys.items()}, lower_is_better=lower_is_better)
    return [keys[name] for name in found]


def draw_comparison(comparison: Comparison) -> bytes:
    """Quality against operations, seconds and peak memory as a PNG: a curve over budgets for each model."""
    with needs("plots", "the figure of a comparison"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2))
    panels = figure.subplots(1, len(COSTS), sharey=True)
    for axes, (label, cost) in zip(panels, COSTS, strict=True):
        _panel(axes, comparison, label, cost)
    sign = "lower" if comparison.lower_is_better else "higher"
    panels[0].set_ylabel(f"test, {comparison.measure} ({sign} is better)")
    handles, labels = panels[0].get_legend_handles_labels()
    for axes in panels[1:]:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            if name not in labels:
                handles.append(handle)
                labels.append(name)
    figure.legend(handles, labels, loc="lower center", ncols=5, frameon=False, bbox_to_anchor=(0.5, 0.97))
    figure.tight_layout()
    return to_png(figure)


def _panel(
    axes: "Axes", comparison: Comparison, label: str, cost: Callable[[RunRecord], float | None]
) -> None:
    points = mean_points(comparison, cost)
    for i, model in enumerate(comparison.models):
        budgets = [budget for name, budget in points if name == model.name]
        if budgets:
            axes.errorbar(
                [points[model.name, budget][0] for budget in budgets],
                [points[model.name, budget][1] for budget in budgets],
                yerr=[_deviation(comparison, model.name, budget) for budget in budgets],
                color=LAYER_COLORS[i % len(LAYER_COLORS)],
                marker=MARKERS[(i // len(LAYER_COLORS) + i) % len(MARKERS)],
                ls="-" if model.control is None else "--",
                lw=1.4,
                ms=5,
                capsize=2,
                label=model.name,
            )
    best = front(points, lower_is_better=comparison.lower_is_better)
    if best:
        xs, ys = zip(*(points[key] for key in best), strict=True)
        axes.plot(
            xs, ys, color=FAINT, lw=7, alpha=0.25, solid_capstyle="round", zorder=0, label="Pareto front"
        )
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=FAINT)
    axes.set_xscale(scale([x for x, _ in points.values()]))
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color=LINE, lw=0.7)
    axes.set_axisbelow(True)


def scale(costs: Sequence[float]) -> str:
    """A logarithmic scale, unless costs are so near each other that its labels would overlap."""
    return "log" if costs and min(costs) > 0 and max(costs) > 3 * min(costs) else "linear"


def _deviation(comparison: Comparison, model: str, budget: float) -> float:
    return summary([run.quality for run in comparison.of(model, budget).values()]).deviation or 0.0
