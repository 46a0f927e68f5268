"""Pathfinder: what images show, against the label that they carry, by walking along the curves."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from sma.training.generators.pathfinder import (
    BACKGROUND,
    CONTOUR,
    DISC,
    DISTRACTOR,
    MARKED,
    PATH_X,
    Drawing,
    images,
)


def parts(shown, kinds):
    """Sizes of the connected parts of pixels that show one of `kinds`; a gap of one pixel connects."""
    todo = set(map(tuple, np.argwhere(np.isin(shown, kinds))))
    sizes = []
    while todo:
        queue, size = deque([todo.pop()]), 0
        while queue:
            x, y = queue.popleft()
            size += 1
            near = {(x + i, y + j) for i in range(-2, 3) for j in range(-2, 3)} & todo
            todo -= near
            queue.extend(near)
        sizes.append(size)
    return sizes


@pytest.fixture(scope="module")
def drawn():
    (chunk,) = images(40, Drawing(), seed=0)
    return chunk


def test_labels(drawn):
    assert drawn["labels"].tolist() == [1, 0] * 20
    for label, shown in zip(drawn["labels"], drawn["shown"], strict=True):
        assert (CONTOUR in shown) == bool(label)  # the curve without a disc
        assert {BACKGROUND, DISTRACTOR, MARKED, DISC} <= set(shown.flatten().tolist())


def test_discs_mark_one_curve_or_two():
    roomy = replace(Drawing(), side=64, margin=4.0)
    (chunk,) = images(20, roomy, seed=1)
    for label, shown in zip(chunk["labels"], chunk["shown"], strict=True):
        assert len(parts(shown, [MARKED, DISC])) == (1 if label else 2)


def test_labels_do_not_show_in_the_brightness(drawn):
    brightness = drawn["pixels"].mean((1, 2))
    assert (
        abs(brightness[drawn["labels"] == 1].mean() - brightness[drawn["labels"] == 0].mean())
        < 0.5 * brightness.std()
    )


def test_pixels(drawn):
    assert drawn["pixels"].dtype == np.uint8
    assert drawn["pixels"].max() == 255
    assert not drawn["pixels"][:, 0].any()  # the border is free
    assert (drawn["pixels"][drawn["shown"] == DISC] >= 64).all()


def test_the_result_is_a_function_of_the_seed():
    small = Drawing(side=24, contour=6, distractors=1, distractor=3)
    alone, shared, other = (
        np.concatenate([chunk["pixels"] for chunk in images(501, small, seed=seed, workers=workers)])
        for seed, workers in ((1, 1), (1, 2), (2, 1))
    )
    assert alone.shape == (501, 24, 24)
    assert np.array_equal(alone, shared)
    assert not np.array_equal(alone, other)


def test_large_images():
    (chunk,) = images(4, PATH_X, seed=0)
    assert chunk["pixels"].shape == (4, 128, 128)


def test_no_room():
    with pytest.raises(ValueError, match="too little space"):
        next(images(5, Drawing(side=12, contour=30), seed=0))
