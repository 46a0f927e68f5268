"""Figures as PNG bytes."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sma.activation_map import sub_module_names
from sma.lazy import needs
from sma.plots.html import FAINT, INK, LINE, tint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCENT = "#0f766e"
SECOND = "#c2410c"
LAYER_COLORS = ("#0f766e", "#c2410c", "#4338ca", "#65a30d", "#be185d", "#0ea5e9", "#854d0e", "#6b7280")
MOST_COLUMNS = 6
LONGEST_LABEL = 80
"""Characters of a line in a legend; longer labels are wrapped."""
Row = Mapping[str, Any]


def check_matplotlib() -> None:
    """Raise MissingPackageError unless matplotlib, which draws the figures of reports, is installed."""
    with needs("plots", "the report of a run"):
        import matplotlib  # noqa: F401


def to_png(figure: "Figure") -> bytes:
    """Render a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


def draw_curves(rows: Sequence[Row], *, label: str, baselines: Mapping[str, float]) -> bytes:
    """Training and validation bits over steps, with baselines as horizontal lines."""
    figure, axes = _axes()
    training = [row for row in rows if row["split"] == "training"]
    validation = [row for row in rows if row["split"] == "validation"]
    axes.plot(*_xy(training, "bits"), color=FAINT, lw=1, label="training", zorder=2)
    axes.plot(*_xy(validation, "bits"), color=ACCENT, lw=2, marker="o", ms=4, label="validation", zorder=3)
    for (name, value), style in zip(baselines.items(), ("-.", "--", ":", "-"), strict=False):
        axes.axhline(value, color=SECOND, lw=1, ls=style, label=f"{name}: {value:.2f}", zorder=1)
    highest = max([row["bits"] for row in validation] + list(baselines.values()), default=1.0)
    axes.set_ylim(0, 1.3 * highest)
    axes.set(xlabel="step", ylabel=label)
    _legend(axes)
    return to_png(figure)


def draw_accuracy(rows: Sequence[Row], *, baselines: Mapping[str, float]) -> bytes:
    """Validation accuracy over steps, with baselines as horizontal lines."""
    figure, axes = _axes()
    validation = [row for row in rows if row["split"] == "validation"]
    steps, shares = _xy(validation, "accuracy")
    axes.plot(
        steps, [100 * share for share in shares], color=ACCENT, lw=2, marker="o", ms=4, label="validation"
    )
    for (name, value), style in zip(baselines.items(), ("-.", "--", ":", "-"), strict=False):
        axes.axhline(100 * value, color=SECOND, lw=1, ls=style, label=f"{name}: {100 * value:.1f} %")
    axes.set_ylim(0, 103)
    axes.set(xlabel="step", ylabel="correct (%)")
    _legend(axes)
    return to_png(figure)


def draw_loss(rows: Sequence[Row]) -> bytes:
    """Training loss with all auxiliary losses, and the learning rate, over steps."""
    figure, axes = _axes()
    training = [row for row in rows if row["split"] == "training"]
    axes.plot(*_xy(training, "loss"), color=ACCENT, lw=1.2, label="training loss (nats)")
    axes.set(xlabel="step", ylabel="loss (nats, auxiliary losses included)")
    right = axes.twinx()
    right.plot(*_xy(training, "learning_rate"), color=SECOND, lw=1, ls="--", label="learning rate")
    right.set_ylabel("learning rate", color=SECOND)
    right.tick_params(colors=SECOND, labelsize=9)
    right.spines[["top", "left"]].set_visible(False)
    right.spines["right"].set_color(SECOND)
    right.set_ylim(bottom=0)
    return to_png(figure)


def draw_activation(rows: Sequence[Row], kinds: Sequence[Sequence[str]]) -> bytes:
    """The share of elements that activated each sub-module, per layer, over training steps.

    Args:
        rows: lines of metrics.jsonl.
        kinds: of the sub-modules of each layer.
    """
    training = [row for row in rows if row["split"] == "training" and row["activation"]]
    of_step = [[rate for rates in row["activation"].values() for rate in rates] for row in training]
    layers = [i for i, of_layer in enumerate(kinds) for _ in of_layer]
    steps = [row["step"] for row in training]
    return draw_rates(steps, list(zip(*of_step, strict=True)), sub_module_names(kinds), layers)


def draw_rates(
    steps: Sequence[int], rates: Sequence[Sequence[float]], names: Sequence[str], layers: Sequence[int]
) -> bytes:
    """Activation rates of sub-modules over training steps: faint lines, and strong ones for running means.

    Args:
        steps: S of them.
        rates: of each sub-module, one per step.
        names: of the sub-modules.
        layers: the number of the layer of each, which has one colour.
    """
    figure, axes = _axes()
    for i, (each, name, layer) in enumerate(zip(rates, names, layers, strict=bool(rates))):
        color = LAYER_COLORS[layer % len(LAYER_COLORS)]
        style = ("-", "--", ":", "-.")[(i - layers.index(layer)) % 4]
        shares = [100 * rate for rate in each]
        axes.plot(steps, shares, color=color, lw=0.6, alpha=0.3)
        axes.plot(steps, _running_mean(shares, len(shares) // 40), color=color, ls=style, lw=1.6, label=name)
    axes.set(xlabel="step", ylabel="active elements (%)")
    axes.set_ylim(-3, 103)
    if rates:
        _legend(axes)
    return to_png(figure)


def draw_confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """A confusion matrix: rows are the true classes, columns the model's answers."""
    check_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(5, 4.6))
    axes = figure.add_subplot()
    n = len(counts)
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    for y in range(n):
        for x in range(n):
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=tint(shares[y][x])))
            color = INK if counts[y][x] else "#d3d9df"
            axes.text(x + 0.5, y + 0.52, str(counts[y][x]), ha="center", va="center", size=9, color=color)
    ticks = [i + 0.5 for i in range(n)]
    axes.set(xlim=(0, n), ylim=(n, 0), aspect="equal", xlabel="model's answer", ylabel="class shown")
    axes.set_xticks(ticks, classes, rotation=90 if max(map(len, classes)) > 3 else 0)
    axes.set_yticks(ticks, classes)
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_color(FAINT)
    return to_png(figure)


def _axes() -> "tuple[Figure, Axes]":
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color=LINE, lw=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _running_mean(values: Sequence[float], reach: int) -> list[float]:
    """Each value's mean with up to `reach` neighbours on each side."""
    windows = (values[max(i - reach, 0) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _legend(axes: "Axes") -> None:
    """A legend above the axes, where it hides nothing; in as many columns as are not wider than they."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    handles, labels = axes.get_legend_handles_labels()
    FigureCanvasAgg(axes.get_figure(root=True))
    for columns in range(min(len(labels), MOST_COLUMNS), 0, -1):
        legend = axes.legend(
            handles,
            [textwrap.fill(label, LONGEST_LABEL) for label in labels],
            frameon=False,
            fontsize=9,
            ncols=columns,
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
        )
        if legend.get_window_extent().width <= axes.bbox.width:
            return


def _xy(rows: Sequence[Row], key: str) -> tuple[list[int], list[float]]:
    return [row["step"] for row in rows], [row[key] for row in rows]
