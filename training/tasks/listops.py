"""ListOps: the value of nested operations on digits, from their tokens."""

import os
import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from sma import register
from sma.training.generators.cache import cached, load_arrays, save_rows
from sma.training.generators.listops import ROLE_OF_TOKEN, ROLES, TOKENS, Sizes, expressions
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.task import TaskSpec

Count = Annotated[int, Field(ge=1)]


@register
class ListOpsSpec(TaskSpec):
    """ListOps, generated as the Long Range Arena makes it (https://arxiv.org/abs/2011.04006).

    The defaults are its sizes; short expressions, as with `max_length: 200`, train on a CPU.

    Attributes:
        min_length: an expression has more tokens than this, parentheses not counted.
        max_length: an expression has fewer tokens than this.
        max_depth: operations are nested at most so deep.
        max_args: an operation takes 2 to so many elements.
        n_training: expressions to learn from.
        n_validation: expressions of the validation split.
        n_test: expressions of the test split.
        seed: of the data; not the run's.
    """

    kind: Literal["listops"] = "listops"
    min_length: Annotated[int, Field(ge=0)] = 500
    max_length: Count = 2000
    max_depth: Count = 10
    max_args: Count = 10
    n_training: Count = 96_000
    n_validation: Count = 2_000
    n_test: Count = 2_000
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check_sizes(self) -> "ListOpsSpec":
        self._sizes()
        return self

    def _sizes(self) -> Sizes:
        return Sizes(self.min_length, self.max_length, self.max_depth, self.max_args)

    @override
    def build(self) -> RowsTask:
        folder, facts = cached("listops", self.model_dump(mode="json"), self._make)
        splits = {}
        for name in ("training", "validation", "test"):
            arrays = load_arrays(folder, name)
            splits[name] = Rows(arrays["tokens"], arrays["ends"], arrays["labels"], token_roles=ROLE_OF_TOKEN)
        return RowsTask(
            splits,
            title=f"ListOps, generated: expressions of {self.min_length + 1} to {self.max_length - 1} tokens",
            facts=facts,
            classes=[str(digit) for digit in range(10)],
            unit="expression",
            names=[f"{token} " for token in TOKENS],
            role_names=ROLES,
        )

    def _make(self, folder: Path) -> dict[str, str]:
        sizes = {"training": self.n_training, "validation": self.n_validation, "test": self.n_test}
        kept = folder / "chunks"
        kept.mkdir(exist_ok=True)
        made = expressions(
            sum(sizes.values()), self._sizes(), seed=self.seed, workers=os.cpu_count() or 1, folder=kept
        )
        facts = save_rows(folder, made, sizes, unit="expression")
        shutil.rmtree(kept)
        return facts
