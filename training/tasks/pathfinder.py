"""Pathfinder: whether two discs mark one curve, from the pixels of an image line by line."""

import os
import shutil
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from sma import register
from sma.training.generators.cache import cached, load_arrays, save_rows
from sma.training.generators.chunks import Chunk
from sma.training.generators.pathfinder import PATH_X, Drawing, images
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.task import TaskSpec

Count = Annotated[int, Field(ge=1)]
DRAWINGS = {
    12: Drawing(side=12, contour=2, distractors=0, radius=1.0),
    16: Drawing(side=16, contour=4, distractors=1, distractor=2, radius=1.0),
    32: Drawing(),
    128: PATH_X,
}
"""How images of each side are drawn."""


@register
class PathfinderSpec(TaskSpec):
    """Pathfinder, drawn by this project's generator.

    Attributes:
        side: of the square images: 12 (two short curves alone), 16 (easier than the paper's), 32, or 128
            (Path-X).
        n_training: images to learn from.
        n_validation: images of the validation split.
        n_test: images of the test split.
        seed: of the data; not the run's.
    """

    kind: Literal["pathfinder"] = "pathfinder"
    side: Literal[12, 16, 32, 128] = 32
    n_training: Count = 160_000
    n_validation: Count = 20_000
    n_test: Count = 20_000
    seed: Annotated[int, Field(ge=0)] = 0

    @override
    def build(self) -> RowsTask:
        folder, facts = cached("pathfinder", self.model_dump(mode="json"), self._make)
        splits = {}
        for name in ("training", "validation", "test"):
            arrays = load_arrays(folder, name)
            splits[name] = Rows(
                arrays["pixels"], arrays["ends"], arrays["labels"], scale=255, roles=arrays["shown"]
            )
        return RowsTask(
            splits,
            title=f"Pathfinder, drawn here: {self.side} x {self.side} pixels",
            facts=facts,
            classes=["two curves", "one curve"],
            unit="image",
            side=self.side,
            role_names=("background", "distractor", "unmarked contour", "marked contour", "disc"),
        )

    def _make(self, folder: Path) -> dict[str, str]:
        sizes = {"training": self.n_training, "validation": self.n_validation, "test": self.n_test}
        kept = folder / "chunks"
        kept.mkdir(exist_ok=True)
        workers = os.cpu_count() or 1
        drawn = images(sum(sizes.values()), DRAWINGS[self.side], seed=self.seed, workers=workers, folder=kept)
        facts = save_rows(folder, map(_as_rows, drawn), sizes, unit="image")
        shutil.rmtree(kept)
        return facts


def _as_rows(chunk: Chunk) -> Chunk:
    """Every pixel an element with one feature."""
    n_pixels = chunk["pixels"][0].size
    return {
        "pixels": chunk["pixels"].reshape(-1, 1),
        "shown": chunk["shown"].reshape(-1),
        "labels": chunk["labels"],
        "ends": np.arange(1, len(chunk["labels"]) + 1) * n_pixels,
    }
