"""Figures of text, images, layers over positions and graphs, tinted by activation.

They are matplotlib's, made without pyplot, so that nothing is shown or kept by itself.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sma.activation_map import ActivationMap, to_map
from sma.elements import Edges
from sma.lazy import needs
from sma.plots.html import (
    FAINT,
    INK,
    LINE,
    NEWLINE,
    TINTS,
    check_length,
    check_texts,
    ticks,
    tint,
)
from sma.plots.spring import spring_layout
from sma.recording import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_text(
    activations: Recording | ActivationMap, texts: Sequence[str], *, row: int = 0, columns: int = 100
) -> "Figure":
    """Text on a grid, every element on a background that says how many sub-modules it activated.

    Args:
        activations: of the elements, or a recording.
        texts: the text of each element: a string has one character each, a list of tokens one token.
        row: of the recording.
        columns: characters per line; longer lines are wrapped.

    Raises:
        ValueError: if there are more or fewer texts than elements.
        TypeError: if they are not strings, or `activations` is neither of the two.

    Example:
        >>> import torch
        >>> draw_text(ActivationMap(torch.tensor([[True], [False]]), ("layer 1",)), "ab")
        <Figure size ...>
    """
    with needs("plots", "draw_text"):
        from matplotlib.figure import Figure

    found = to_map(activations, row)
    check_texts(texts, found)
    cells = list(_cells(texts, found.counts.tolist(), columns))
    n_lines = cells[-1][0] + 1 if cells else 0
    width = max([column + 1 for _, column, _, _ in cells] + [24 + 4 * (min(found.highest, 10) + 1)])
    size, aspect = 9.0, 0.602  # DejaVu Sans Mono: a character is this wide for its height
    figure = Figure(figsize=(width * size * aspect / 72, (n_lines + 2.5) * size * 1.35 / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(n_lines + 2.5, 0))
    axes.axis("off")
    style: dict[str, Any] = {"size": size, "color": INK, "family": "monospace"}
    for line, column, character, count in cells:
        if count:
            _cell(axes, column, line, tint(count / found.highest))
        if not character.isspace():
            axes.text(column + 0.5, line + 0.72, character, ha="center", **style)
    axes.text(0, n_lines + 1.72, "sub-modules activated:", **style)
    for i, count in enumerate(ticks(found.highest)):
        _cell(axes, 24 + 4 * i, n_lines + 1, tint(count / found.highest), width=3, edge=FAINT)
        axes.text(25.5 + 4 * i, n_lines + 1.72, str(count), ha="center", **style)
    return figure


def draw_images(
    activations: Recording | Sequence[ActivationMap],
    images: Tensor,
    *,
    titles: Sequence[str] | None = None,
    columns: int = 10,
) -> "Figure":
    """Images, and below each how many sub-modules its pixels activated.

    Args:
        activations: of each image, or a recording whose first n rows they are.
        images: `(n, H, W)`, high is dark, or `(n, H, W, 3)` in colour, in [0, 1]; an element per pixel,
            row after row.
        titles: above the images.
        columns: images side by side.

    Raises:
        ValueError: if the number of images, titles or pixels does not fit.

    Example:
        >>> import torch
        >>> active = torch.rand(6, 1) > 0.5
        >>> draw_images([ActivationMap(active, ("layer 1",))], torch.rand(1, 2, 3), titles=["noise"])
        <Figure size ...>
    """
    with needs("plots", "draw_images"):
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure

    if images.dim() != 3 and (images.dim() != 4 or images.shape[-1] != 3):
        hints = {
            3: "; move the channels last: images.permute(0, 2, 3, 1)",
            1: "; leave out the channel: images[:, 0]",
        }
        hint = hints.get(images.shape[1], "") if images.dim() == 4 else ""
        raise ValueError(f"images must be (n, H, W) or (n, H, W, 3), got {tuple(images.shape)}{hint}")
    if isinstance(activations, Recording):
        activations = [ActivationMap.of(activations, i) for i in range(len(images))]
    for name, n in (("activations", len(activations)), ("titles", len(images if titles is None else titles))):
        if n != len(images):
            raise ValueError(f"there are {len(images)} images, but {n} {name}; give one for each")
    n_across, n_bands = max(min(columns, len(images)), 1), max(-(-len(images) // columns), 1)
    figure = Figure(figsize=(n_across, n_bands * 2.35))
    heights = {"height_ratios": [1, 1, 0.3] * n_bands, "hspace": 0.05}
    grid = figure.subplots(3 * n_bands, n_across, squeeze=False, gridspec_kw=heights)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    tints = LinearSegmentedColormap.from_list("tints", TINTS)
    for i, (image, shown) in enumerate(zip(images.detach().cpu().float(), activations, strict=True)):
        check_length("pixels", image.shape[0] * image.shape[1], shown)
        above, below = (grid[3 * (i // columns) + part][i % columns] for part in (0, 1))
        above.imshow(image.numpy(), cmap="gray_r")
        below.imshow(shown.counts.view(image.shape[:2]).numpy(), cmap=tints, vmin=0, vmax=shown.highest)
        for axes in (above, below):
            axes.spines[:].set(visible=True, color=LINE)
        if titles is not None:
            above.set_title(titles[i], size=8, color=INK, pad=3)
    return figure


def draw_layers(activations: Recording | ActivationMap, *, row: int = 0) -> "Figure":
    """A heat map of sub-modules over positions: dark where an element activated one.

    Args:
        activations: or a recording.
        row: of the recording.

    Example:
        >>> import torch
        >>> draw_layers(ActivationMap(torch.rand(50, 2) > 0.5, ("layer 1", "layer 2")))
        <Figure size ...>
    """
    with needs("plots", "draw_layers"):
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure

    found = to_map(activations, row)
    figure = Figure(figsize=(8, 0.8 + 0.28 * len(found.names)))
    axes = figure.add_subplot()
    shape = {"xlim": (0, max(len(found), 1)), "ylim": (found.highest, 0)}
    if found.active.numel():
        extent = (0, len(found), len(found.names), 0)
        colors = ListedColormap([TINTS[0], TINTS[-1]])
        cells = found.active.T.repeat_interleave(32, 0).numpy()  # high, so that layers do not blur together
        axes.imshow(cells, cmap=colors, vmin=0, vmax=1, aspect="auto", extent=extent)
        axes.hlines(range(1, len(found.names)), 0, len(found), colors=LINE)
    axes.set(xlabel="position", **shape)
    rates = found.active.float().mean(0).tolist() if len(found) else [0.0] * len(found.names)
    labels = [f"{name}: {rate:.0%}" for name, rate in zip(found.names, rates, strict=True)]
    axes.set_yticks([m + 0.5 for m in range(len(labels))], labels)
    axes.tick_params(colors=INK, labelsize=9)
    axes.spines[:].set_color(FAINT)
    return figure


def draw_graph(
    activations: Recording | ActivationMap,
    edges: Edges | Tensor,
    *,
    row: int = 0,
    labels: Sequence[str] | None = None,
    positions: Tensor | None = None,
) -> "Figure":
    """A graph whose nodes are tinted by how many sub-modules they activated.

    Args:
        activations: of the nodes, or a recording.
        edges: between the nodes of this graph, numbered from 0; `Edges`, or an `edge_index (2, E)`.
        row: of the recording: the number of the graph in its batch.
        labels: written above the nodes.
        positions: `(n, 2)`; where the nodes are. None: a spring layout.

    Raises:
        ValueError: if edges, labels or positions do not fit the nodes.

    Example:
        >>> import torch
        >>> nodes = ActivationMap(torch.tensor([[True], [False], [True]]), ("layer 1",))
        >>> draw_graph(nodes, torch.tensor([[0, 1], [1, 2]]))
        <Figure size ...>
    """
    with needs("plots", "draw_graph"):
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure

    found = to_map(activations, row)
    index = (edges.index if isinstance(edges, Edges) else edges).cpu()
    if index.dim() != 2 or len(index) != 2:
        raise ValueError(f"edges must be (2, E), got {tuple(index.shape)}")
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(found):
        raise ValueError(
            f"edges join nodes {int(index.min())} to {int(index.max())}, but there are {len(found)} nodes, "
            "numbered from 0; give the edges of one graph"
        )
    places = spring_layout(index, len(found)) if positions is None else positions.detach().cpu().float()
    if places.shape != (len(found), 2):
        raise ValueError(f"positions must be ({len(found)}, 2), got {tuple(places.shape)}")
    if labels is not None:
        check_length("labels", len(labels), found)
    figure = Figure(figsize=(6, 6))
    axes = figure.add_subplot()
    axes.axis("off")
    axes.add_collection(LineCollection(list(places[index.T].numpy()), colors=FAINT, lw=0.7, zorder=1))
    colors = [tint(count / found.highest) for count in found.counts.tolist()]
    size = max(12.0, min(200.0, 6000 / max(len(found), 1)))
    x, y = places.T.numpy()
    axes.scatter(x, y, s=size, c=colors, edgecolors=INK, linewidths=0.7, zorder=2)
    above: dict[str, Any] = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
    for place, label in zip(places.tolist(), labels or (), strict=False):
        axes.annotate(label, place, **above, color=INK, size=7, zorder=3)
    _node_legend(axes, found.highest)
    axes.margins(0.1)
    return figure


def _cells(texts: Sequence[str], counts: Sequence[int], columns: int) -> Iterator[tuple[int, int, str, int]]:
    """Line, column, character and count of every character on a grid."""
    line = column = 0
    for text, count in zip(texts, counts, strict=True):
        for character in text:
            if column == columns and character != "\n":
                line, column = line + 1, 0
            yield line, column, NEWLINE if character == "\n" else character, count
            line, column = (line + 1, 0) if character == "\n" else (line, column + 1)


def _cell(axes: "Axes", x: float, y: float, color: str, *, width: float = 1, edge: str = "none") -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, 1, facecolor=color, edgecolor=edge, lw=0.5))


def _node_legend(axes: "Axes", highest: int) -> None:
    for count in ticks(highest):
        axes.scatter([], [], c=tint(count / highest), edgecolors=INK, linewidths=0.7, label=str(count))
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 11}
    axes.legend(title="sub-modules activated", frameon=False, fontsize=9, **place)
