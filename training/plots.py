"""Figures as PNG bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

INK = "#1f2933"
FAINT = "#9aa5b1"
ACCENT = "#0f766e"
SECOND = "#c2410c"
LAYER_COLORS = ("#0f766e", "#c2410c", "#4338ca", "#65a30d", "#be185d", "#0ea5e9", "#854d0e", "#6b7280")
TINTS = ("#ffffff", "#d9f2ec", "#a7e0d3", "#6ec9b7", "#37ac97")
Row = Mapping[str, Any]


def legend_html(highest: int) -> str:
    """The tints of 0 to `highest` activations, as HTML."""
    cells = "".join(f'<span style="background:{tint(n / highest)}">{n}</span>' for n in range(highest + 1))
    return f"<p class=legend>layers that activated: {cells}</p>"


def tint(share: float) -> str:
    """The background colour of an element that activated this share of all sub-modules; white for none."""
    place = min(max(share, 0.0), 1.0) * (len(TINTS) - 1)
    low = min(int(place), len(TINTS) - 2)
    pairs = zip(to_rgb(TINTS[low]), to_rgb(TINTS[low + 1]), strict=True)
    red, green, blue = (a + (b - a) * (place - low) for a, b in pairs)
    return to_hex((red, green, blue))


def to_png(figure: Figure) -> bytes:
    """Render a figure."""
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


def draw_activation(rows: Sequence[Row]) -> bytes:
    """The share of elements that activated each sub-module, per layer, over training steps."""
    figure, axes = _axes()
    training = [row for row in rows if row["split"] == "training" and row["activation"]]
    layers = list(training[-1]["activation"]) if training else []
    steps = [row["step"] for row in training]
    for i, name in enumerate(layers):
        rates = [row["activation"][name] for row in training]
        for module in range(len(rates[-1])):
            label = f"layer {i + 1}" if len(rates[-1]) == 1 else f"layer {i + 1}, module {module + 1}"
            color, style = LAYER_COLORS[i % len(LAYER_COLORS)], ("-", "--", ":", "-.")[module % 4]
            axes.plot(
                steps, [100 * rate[module] for rate in rates], color=color, ls=style, lw=1.4, label=label
            )
    axes.set(xlabel="step", ylabel="elements that activate attention (%)")
    axes.set_ylim(-3, 103)
    if layers:
        _legend(axes)
    return to_png(figure)


def draw_text(lines: Sequence[Sequence[tuple[str, int]]], highest: int, *, columns: int) -> bytes:
    """Text on a grid, every character on a background that says how often it activated."""
    size, aspect = 9.0, 0.602  # DejaVu Sans Mono: a character is this wide for its height
    width, height = columns * size * aspect / 72, (len(lines) + 2.5) * size * 1.35 / 72
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, columns), ylim=(len(lines) + 2.5, 0))
    axes.axis("off")
    for number, line in enumerate(lines):
        for column, (character, count) in enumerate(line[:columns]):
            if count:
                _cell(axes, column, number, tint(count / highest))
            if not character.isspace():
                axes.text(
                    column + 0.5,
                    number + 0.72,
                    character,
                    size=size,
                    color=INK,
                    family="monospace",
                    ha="center",
                )
    axes.text(0, len(lines) + 1.72, "layers that activated:", size=size, color=INK, family="monospace")
    for count in range(highest + 1):
        column = 24 + 4 * count
        _cell(axes, column, len(lines) + 1, tint(count / highest), width=3, edge=FAINT)
        axes.text(
            column + 1.5, len(lines) + 1.72, str(count), size=size, color=INK, family="monospace", ha="center"
        )
    return to_png(figure)


def draw_confusion(counts: Sequence[Sequence[int]]) -> bytes:
    """A confusion matrix: rows are what was shown, columns what was said."""
    figure = Figure(figsize=(5, 4.6))
    axes = figure.add_subplot()
    n = len(counts)
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    for y in range(n):
        for x in range(n):
            _cell(axes, x, y, tint(shares[y][x]))
            color = INK if counts[y][x] else "#d3d9df"
            axes.text(x + 0.5, y + 0.52, str(counts[y][x]), ha="center", va="center", size=9, color=color)
    ticks = [i + 0.5 for i in range(n)]
    axes.set(xlim=(0, n), ylim=(n, 0), aspect="equal", xlabel="model's answer", ylabel="digit shown")
    axes.set_xticks(ticks, [str(i) for i in range(n)])
    axes.set_yticks(ticks, [str(i) for i in range(n)])
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_color(FAINT)
    return to_png(figure)


def draw_digits(
    images: Sequence[Any], counts: Sequence[Any], titles: Sequence[str], highest: int, *, columns: int = 10
) -> bytes:
    """Images above their activation counts, in pairs of rows."""
    bands = -(-len(images) // columns)
    figure = Figure(figsize=(columns, bands * 2.35))
    heights = [1, 1, 0.3] * bands
    grid = figure.subplots(
        3 * bands, columns, squeeze=False, gridspec_kw={"height_ratios": heights, "hspace": 0.05}
    )
    for axes in grid.flat:
        axes.axis("off")
    for i, (image, count, title) in enumerate(zip(images, counts, titles, strict=True)):
        top = 3 * (i // columns)
        above, below = grid[top][i % columns], grid[top + 1][i % columns]
        above.set_title(title, size=8, color=INK, pad=3)
        for y, line in enumerate(image):
            for x, value in enumerate(line):
                _cell(above, x, y, to_hex((1 - 0.85 * value,) * 3), edge="#e4e7eb")
        for y, line in enumerate(count):
            for x, value in enumerate(line):
                _cell(below, x, y, tint(value / highest), edge="#e4e7eb")
        for axes in (above, below):
            axes.set(xlim=(0, len(image[0])), ylim=(len(image), 0), aspect="equal")
    return to_png(figure)


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 3.6))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color="#e4e7eb", lw=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _legend(axes: Axes) -> None:
    """A legend above the axes, where it hides nothing."""
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(-0.01, 1.0))


def _xy(rows: Sequence[Row], key: str) -> tuple[list[int], list[float]]:
    return [row["step"] for row in rows], [row[key] for row in rows]


def _cell(axes: Axes, x: float, y: float, color: str, *, width: float = 1, edge: str = "none") -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, 1, facecolor=color, edgecolor=edge, lw=0.5))
