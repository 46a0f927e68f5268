"""Associative recall, selective copying and induction heads: tasks whose need for attention is known."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from typing_extensions import override

from sma import register
from sma.training.generators.recall import (
    Sequences,
    associative_recall,
    induction_heads,
    selective_copying,
)
from sma.training.tasks.section import Section
from sma.training.tasks.task import Batch, Evaluation, Split, Task, TaskSpec

Count = Annotated[int, Field(ge=1)]
SEEDS = {"validation": 1, "test": 2}


class RecallTask(Task):
    """Answer the queries of a row from its own content, at the elements that ask.

    Training rows are new ones in every step.

    Args:
        spec: makes the rows.
    """

    unit = "answer"
    headline: Literal["bits", "accuracy"] = "accuracy"
    role_names = ("filler", "key", "value", "query")

    def __init__(self, spec: "RecallSpec") -> None:
        self.spec = spec
        self.n_classes = spec.vocab_size
        self.title = spec.title
        self.facts = {
            "training data": "new rows in every step, from the run's seed",
            "validation and test data": f"{spec.n_evaluation:,} rows each, from seeds of their own",
        }

    @override
    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        rows = self.spec.rows(batch_size, generator)
        return Batch(rows.inputs, rows.targets, None, rows.roles, rows.needs)

    @override
    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        rows = self.spec.rows(self.spec.n_evaluation, torch.Generator().manual_seed(SEEDS[split]))
        parts = (rows.inputs, rows.targets, rows.roles, rows.needs)
        for inputs, targets, roles, needs in zip(
            *(torch.split(part, batch_size) for part in parts), strict=True
        ):
            yield Batch(inputs, targets, None, roles, needs)

    @override
    def baselines(self) -> dict[str, float]:
        return {"one of the possible answers at random": 1 / self.spec.n_answers}

    @override
    def sections(self, model: nn.Module, test: Evaluation) -> list[Section]:
        """How far the activations are those that the answers need."""
        from sma.training.tasks.needs_section import needs_section

        return [needs_section(self, model)]


class RecallSpec(TaskSpec):
    """Base of the tasks whose needs are known.

    Attributes:
        length: elements per row.
        vocab_size: how many tokens there are.
        n_evaluation: rows of the validation and of the test split.
    """

    title: ClassVar[str]
    length: Annotated[int, Field(ge=3, le=2**20)] = 256
    vocab_size: Annotated[int, Field(ge=2, le=2**20)] = 128
    n_evaluation: Count = 1000

    @abstractmethod
    def rows(self, n: int, generator: torch.Generator) -> Sequences:
        """Random rows."""

    @property
    @abstractmethod
    def n_answers(self) -> int:
        """How many tokens may be an answer."""

    @model_validator(mode="after")
    def _check_room(self) -> "RecallSpec":
        self.rows(1, torch.Generator())
        return self

    @override
    def build(self) -> RecallTask:
        return RecallTask(self)


@register
class AssociativeRecallSpec(RecallSpec):
    """Multi-query associative recall (https://arxiv.org/abs/2312.04927), see `associative_recall`.

    Attributes:
        n_pairs: keys with values at the beginning of a row.
        n_queries: keys that are asked for.
    """

    kind: Literal["associative_recall"] = "associative_recall"
    title: ClassVar[str] = "Multi-query associative recall, generated"
    n_pairs: Count = 16
    n_queries: Count = 16

    @override
    def rows(self, n: int, generator: torch.Generator) -> Sequences:
        return associative_recall(
            n,
            length=self.length,
            n_pairs=self.n_pairs,
            n_queries=self.n_queries,
            vocab_size=self.vocab_size,
            generator=generator,
        )

    @property
    @override
    def n_answers(self) -> int:
        return self.vocab_size - 1 - (self.vocab_size - 1) // 2


@register
class SelectiveCopyingSpec(RecallSpec):
    """Selective copying (https://arxiv.org/abs/2312.00752), see `selective_copying`.

    Attributes:
        n_values: tokens to be repeated.
    """

    kind: Literal["selective_copying"] = "selective_copying"
    title: ClassVar[str] = "Selective copying, generated"
    vocab_size: Annotated[int, Field(ge=2, le=2**20)] = 16
    n_values: Count = 16

    @override
    def rows(self, n: int, generator: torch.Generator) -> Sequences:
        return selective_copying(
            n,
            length=self.length,
            n_values=self.n_values,
            vocab_size=self.vocab_size,
            generator=generator,
        )

    @property
    @override
    def n_answers(self) -> int:
        return self.vocab_size - 2


@register
class InductionHeadsSpec(RecallSpec):
    """Induction heads (https://arxiv.org/abs/2209.11895), see `induction_heads`."""

    kind: Literal["induction_heads"] = "induction_heads"
    title: ClassVar[str] = "Induction heads, generated"
    vocab_size: Annotated[int, Field(ge=2, le=2**20)] = 16

    @override
    def rows(self, n: int, generator: torch.Generator) -> Sequences:
        return induction_heads(n, length=self.length, vocab_size=self.vocab_size, generator=generator)

    @property
    @override
    def n_answers(self) -> int:
        return self.vocab_size - 1
