"""Pathfinder: are two marked ends joined by a dashed curve, among other curves?

Images like those of https://arxiv.org/abs/1806.01260 that the Long Range Arena uses, drawn by a generator
of this
project: two long curves of dashes (paddles), shorter ones as distractors, and two discs. In a positive
image the discs mark both ends of one long curve, in a negative one an end of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sma.training.generators.chunks import Chunk, chunks

Floats = NDArray[np.float32]
CHUNK = 250
"""Images per unit of work: what a chunk holds depends on the seed and its number alone."""
CANDIDATES = 12
"""Directions that are tried for each paddle."""
ATTEMPTS = 40
"""How often a curve that ran into another is begun anew before its image is given up."""

BACKGROUND, DISTRACTOR, CONTOUR, MARKED, DISC = range(5)
"""The content of a pixel: nothing, a short curve, the long one without a disc, one with a disc, or a disc."""


@dataclass(frozen=True)
class Drawing:
    """How images are drawn; lengths in pixels.

    Attributes:
        side: of the square image.
        contour: paddles of each long curve.
        distractors: how many short curves.
        distractor: paddles of each.
        paddle: length of a paddle.
        gap: between the ends of neighbouring paddles of a curve.
        thickness: of a paddle.
        margin: kept free between curves, and at the border.
        radius: of the discs.
        bend: the most that the direction changes from paddle to paddle, in radians.
    """

    side: int = 32
    contour: int = 14
    distractors: int = 4
    distractor: int = 5
    paddle: float = 2.0
    gap: float = 0.7
    thickness: float = 0.5
    margin: float = 1.0
    radius: float = 1.5
    bend: float = 1.0


PATH_X = Drawing(
    side=128,
    contour=14,
    distractors=7,
    distractor=5,
    paddle=5.0,
    gap=2.5,
    thickness=1.5,
    margin=2.5,
    radius=3.0,
    bend=0.6,
)
"""Images of 128 x 128 pixels."""


def images(
    n: int, drawing: Drawing, *, seed: int, workers: int = 1, folder: Path | None = None
) -> Iterator[Chunk]:
    """`n` images, in chunks as they are made, half of them positive.

    The result is a function of the first three arguments.

    Args:
        n: how many.
        drawing: how.
        seed: of all random numbers.
        workers: processes that draw.
        folder: where chunks are kept, so that they are drawn once; see `chunks`.

    Yields:
        `pixels (k, side, side)` uint8, 0 to 255; `labels (k,)`, 1 if the discs mark one curve; and
        `shown (k, side, side)` uint8, what each pixel shows: `BACKGROUND` to `DISC`.

    Raises:
        ValueError: if curves of these sizes do not fit.

    Example:
        >>> (chunk,) = images(4, Drawing(), seed=0)
        >>> chunk["pixels"].shape, chunk["labels"].tolist()
        ((4, 32, 32), [1, 0, 1, 0])
    """
    missing = n
    for chunk in chunks(partial(_chunk, drawing, seed), workers=workers, folder=folder):
        yield {name: array[:missing] for name, array in chunk.items()}
        missing -= CHUNK
        if missing <= 0:
            return


def _chunk(drawing: Drawing, seed: int, number: int) -> Chunk:
    generator = np.random.default_rng([seed, number])
    curves = np.zeros((0, _n_paddles(drawing), 2, 2), np.float32)
    while len(curves) < CHUNK:
        made = _curves(max(CHUNK - len(curves), 10), drawing, generator)
        if not len(made):
            raise ValueError(
                f"{drawing} leaves too little space: curves of these sizes cross; draw fewer or shorter ones"
            )
        curves = np.concatenate([curves, made])[:CHUNK]
    labels = np.arange(CHUNK) % 2 == 0
    return _draw(curves, labels, drawing, generator)


def _n_paddles(drawing: Drawing) -> int:
    return 2 * drawing.contour + drawing.distractors * drawing.distractor


def _curves(n: int, drawing: Drawing, generator: np.random.Generator) -> Floats:
    """The ends `(m, paddles, 2, 2)` of all paddles of m <= n images, those whose curves fit."""
    ends = np.zeros((n, 0, 2, 2), np.float32)
    for length in [drawing.contour] * 2 + [drawing.distractor] * drawing.distractors:
        curve = np.zeros((len(ends), length, 2, 2), np.float32)
        todo = np.arange(len(ends))
        for _ in range(ATTEMPTS):
            made, grown = _grow(ends[todo], length, drawing, generator)
            curve[todo[grown]] = made[grown]
            todo = todo[~grown]
            if not len(todo):
                break
        kept = np.setdiff1d(np.arange(len(ends)), todo)
        ends = np.concatenate([ends[kept], curve[kept]], 1)
    return ends


def _grow(
    others: Floats, length: int, drawing: Drawing, generator: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """One curve `(n, length, 2, 2)` per image, and which `(n,)` keep clear of others and of themselves."""
    n = len(others)
    border = drawing.margin + drawing.radius
    neighbours = 1 + int(_clearance(drawing) // (drawing.paddle + drawing.gap))  # paddles that may be near
    obstacles = _points(others).reshape(n, 3 * others.shape[1], 2)
    own = np.zeros((n, length, 3, 2), np.float32)
    curve = np.zeros((n, length, 2, 2), np.float32)
    start = generator.uniform(border, drawing.side - border, (n, CANDIDATES, 2)).astype(np.float32)
    angle = np.zeros(n, np.float32)
    alive = np.ones(n, bool)
    for i in range(length):
        bends = generator.uniform(-1, 1, (n, CANDIDATES)).astype(np.float32) * (drawing.bend if i else np.pi)
        angles = angle[:, None] + bends
        step = np.stack([np.cos(angles), np.sin(angles)], -1)
        first = start + (drawing.gap if i else 0.0) * step
        last = first + drawing.paddle * step
        points = _points(np.stack([first, last], -2))
        inside = ((last > border) & (last < drawing.side - border)).all(-1)
        far = max(i - neighbours, 0)
        earlier = own[:, :far].reshape(n, 3 * far, 2)
        clear = inside & _clear(points, obstacles, drawing) & _clear(points, earlier, drawing)
        alive &= clear.any(1)
        chosen = clear.argmax(1)
        rows = np.arange(n)
        curve[:, i, 0], curve[:, i, 1] = first[rows, chosen], last[rows, chosen]
        own[:, i] = points[rows, chosen]
        start, angle = curve[:, i, None, 1], angles[rows, chosen]
    return curve, alive


def _points(ends: Floats) -> Floats:
    """Both ends and the middle of every paddle: `(..., 2, 2)` to `(..., 3, 2)`."""
    return np.concatenate([ends, ends.mean(-2, keepdims=True)], -2)


def _clear(points: Floats, obstacles: Floats, drawing: Drawing) -> NDArray[np.bool_]:
    """Whether paddles `(n, c, 3, 2)` keep the margin from the obstacles `(n, k, 2)`: `(n, c)`."""
    clear = np.ones(points.shape[:2], bool)
    for i in range(3):
        x = points[:, :, i, None, 0] - obstacles[:, None, :, 0]
        y = points[:, :, i, None, 1] - obstacles[:, None, :, 1]
        clear &= (x * x + y * y).min(-1, initial=np.inf) > _clearance(drawing) ** 2
    return clear


def _clearance(drawing: Drawing) -> float:
    """The least distance of points of different curves; those of a paddle are half its length apart."""
    return drawing.margin + drawing.thickness + drawing.paddle / 4


def _draw(
    curves: Floats, labels: NDArray[np.bool_], drawing: Drawing, generator: np.random.Generator
) -> Chunk:
    n, paddles = curves.shape[:2]
    long = curves[:, : 2 * drawing.contour].reshape(n, 2, drawing.contour, 2, 2)
    ends = np.stack([long[:, :, 0, 0], long[:, :, -1, 1]], 2)  # (n, curve, end, 2)
    rows, marked = np.arange(n), generator.integers(2, size=n)
    discs = ends[rows, marked, 0], ends[rows, np.where(labels, marked, 1 - marked), 1]
    kinds = np.full((n, paddles), DISTRACTOR, np.uint8)
    for curve in range(2):
        paddle = slice(curve * drawing.contour, (curve + 1) * drawing.contour)
        kinds[:, paddle] = np.where(labels & (marked != curve), CONTOUR, MARKED).reshape(n, 1)
    ink = np.zeros((n, drawing.side, drawing.side), np.float32)
    shown = np.zeros((n, drawing.side, drawing.side), np.uint8)
    for i in range(paddles):
        _stroke(ink, shown, curves[:, i, 0], curves[:, i, 1], drawing.thickness / 2, kinds[:, i])
    for disc in discs:
        _stroke(ink, shown, disc, disc, drawing.radius, np.full(n, DISC, np.uint8))
    pixels = (ink * 255).round().astype(np.uint8)
    return {"pixels": pixels, "labels": labels.astype(np.int64), "shown": shown}


def _stroke(
    ink: Floats,
    shown: NDArray[np.uint8],
    first: Floats,
    last: Floats,
    radius: float,
    kinds: NDArray[np.uint8],
) -> None:
    """Draw one line with round ends into every image, its edge softened over a pixel."""
    n, side = len(ink), ink.shape[1]
    reach = int(np.ceil((np.abs(last - first).max() + 2 * radius) / 2 + 1))
    corner = np.floor((first + last) / 2).astype(np.int64) - reach
    offsets = np.arange(2 * reach + 1)
    place = np.clip(corner[:, None] + offsets[:, None], 0, side - 1)  # (n, k, 2); repeated at the border
    x, y = place[:, :, None, 0] + 0.5, place[:, None, :, 1] + 0.5
    along = last - first
    length = np.maximum((along**2).sum(-1), 1e-9)[:, None, None]
    dx, dy = x - first[:, None, None, 0], y - first[:, None, None, 1]
    t = np.clip((dx * along[:, None, None, 0] + dy * along[:, None, None, 1]) / length, 0, 1)
    distance = np.hypot(dx - t * along[:, None, None, 0], dy - t * along[:, None, None, 1])
    value = np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)
    index = (np.arange(n)[:, None, None], place[:, :, None, 0], place[:, None, :, 1])
    shown[index] = np.where(value > np.maximum(ink[index], 0.25), kinds[:, None, None], shown[index])
    ink[index] = np.maximum(ink[index], value)
