"""The contract of tasks: batches, splits, baselines and sections; and the family of their specs."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma import Spec
from sma.training.tasks.section import Section

if TYPE_CHECKING:
    from torch_geometric.data import Data

IGNORED = -100
"""The target of an element that is not scored."""

Split = Literal["validation", "test"]
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Rows to predict, or the nodes of a graph.

    Attributes:
        inputs: `(B, L)` tokens or `(B, L, F)` features, a pair of them where rows are pairs, or a graph as
            `torch_geometric.data.Data`.
        targets: `(B, L)` long, one class per element, or `(B,)`, one per row; `(n_nodes,)` for a graph;
            `IGNORED` is not scored.
        mask: `(B, L)` bool, True = a real element; a pair of them for a pair. None: all are real.
        roles: `(B, L)` long, what each element is: an index into the task's `role_names`. None: unknown.
        needs: `(B, L)` bool, the elements that an answer depends on. None: unknown.
    """

    inputs: "Tensor | tuple[Tensor, Tensor] | Data"
    targets: Tensor
    mask: Tensor | tuple[Tensor, Tensor] | None = None
    roles: Tensor | None = None
    needs: Tensor | None = None

    @property
    def n_elements(self) -> int:
        """How many elements a model reads, padding included."""
        if isinstance(self.inputs, Tensor | tuple):
            return sum(part.shape[:2].numel() for part in _parts(self.inputs))
        return int(self.inputs.num_nodes)

    @property
    def n_real(self) -> int:
        """How many elements a model reads, without padding."""
        return self.n_elements if self.mask is None else sum(int(part.sum()) for part in _parts(self.mask))

    @property
    def lengths(self) -> list[int]:
        """The real elements of each row, of each row of both documents, or of each graph."""
        if not isinstance(self.inputs, Tensor | tuple):
            starts = getattr(self.inputs, "ptr", None)  # of a batch of graphs
            return [int(self.inputs.num_nodes)] if starts is None else starts.diff().tolist()
        if self.mask is not None:
            return [n for part in _parts(self.mask) for n in part.sum(1).tolist()]
        return [part.shape[1] for part in _parts(self.inputs) for _ in range(part.shape[0])]

    @property
    def n_targets(self) -> int:
        """How many targets are scored."""
        return int((self.targets != IGNORED).sum())

    def to(self, like: Tensor) -> "Batch":
        """The same batch on the device of `like`; features in its precision as well."""

        def move(tensor: Tensor) -> Tensor:
            return (
                tensor.to(like.device, like.dtype) if tensor.is_floating_point() else tensor.to(like.device)
            )

        def moved(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(move, value))
            return move(value) if isinstance(value, Tensor) else copy(value).apply(move)

        mask = None if self.mask is None else moved(self.mask)
        return replace(self, inputs=moved(self.inputs), targets=self.targets.to(like.device), mask=mask)

    def scores(self, model: Callable[..., T]) -> T:
        """The result of a model on the inputs: scores of the classes, `(*targets.shape, C)`.

        Raises:
            ValueError: if the rows are too long for the model, or hold tokens that it does not know.
        """
        if not isinstance(self.inputs, Tensor | tuple):
            return model(self.inputs)
        try:
            return model(self.inputs, self.mask)
        except IndexError as error:  # of a table of tokens or positions
            length = max(part.shape[1] for part in _parts(self.inputs))
            highest = max(part.max().item() for part in _parts(self.inputs))
            raise ValueError(
                f"the model cannot read rows of {length:,} elements whose highest value is {highest:,} "
                f"({error}); give it a larger vocab_size or more positions, or make rows shorter by "
                "task.max_length or task.length"
            ) from error


def _parts(value: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


@dataclass(frozen=True)
class Part:
    """Some rows of a batch, and what their weight depends on.

    Attributes:
        batch: these rows.
        n_targets: how many targets all rows have that are scored.
        n_real: how many elements all rows have, without padding.
    """

    batch: Batch
    n_targets: int
    n_real: int


@dataclass(frozen=True)
class Evaluation:
    """The result of a model on a split.

    Attributes:
        loss: mean cross-entropy per target, in nats.
        accuracy: the share of targets whose class got the highest score.
        n_targets: how many were scored.
        seconds: how long it took.
        activation_rates: per SMA layer, the share of elements that activated each sub-module.
        targets_per_unit: how many targets one unit of the task has: tokens per byte, or 1.
    """

    loss: float
    accuracy: float
    n_targets: int
    seconds: float
    activation_rates: dict[str, list[float]]
    targets_per_unit: float = 1.0

    @property
    def bits(self) -> float:
        """Mean bits per unit: per byte for text, whatever the tokens."""
        return self.loss / math.log(2) * self.targets_per_unit

    @property
    def n_units(self) -> int:
        """How many units were scored."""
        return round(self.n_targets / self.targets_per_unit)


class Task(ABC):
    """Data, split once and for all into training, validation and test, and what is reported about it.

    Attributes:
        title: one line that names the data.
        facts: what one must know to repeat the run: versions, sizes, hashes. Entries that start with SHA-256
            identify the data: a run continues only while they are the same.
        n_classes: how many classes a model scores: 256 for bytes.
        unit: what results are given per, as in "bits per byte": one target, unless `targets_per_unit` says
            otherwise.
        headline: the measure that the report leads with.
        role_names: what elements may be, where batches say it; see `Batch.roles`.
        columns: elements per line, where a row is a picture; None where it is not.
        classes: the name of each class, where a row has one.
    """

    title: str
    facts: Mapping[str, str]
    n_classes: int
    unit: str
    headline: Literal["bits", "accuracy"]
    role_names: Sequence[str] = ()
    columns: int | None = None
    classes: Sequence[str] = ()

    def targets_per_unit(self, split: str) -> float:
        """How many targets of `training`, `validation` or `test` make one unit, on average."""
        return 1.0

    def element_texts(self, row: Tensor) -> list[str]:
        """The elements of one row as a reader is shown them, one text for each.

        Args:
            row: `(L,)` tokens or `(L, F)` features, without padding.
        """
        if row.dim() == 1:
            return [f"{token} " for token in row.tolist()]
        return [", ".join(f"{value:.3g}" for value in features) for features in row.tolist()]

    @abstractmethod
    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        """A random batch: a function of the generator's seed and nothing else."""

    def training_part(
        self, batch_size: int, generator: torch.Generator, rank: int, world: int
    ) -> Part | None:
        """Every `world`-th row of what `training_batch` gives, from row `rank` on, drawn without the others.

        None where all rows must be drawn for it; they are dealt out then. A class that overrides
        `training_batch` alone has this one, not that of its base, which would draw other rows.
        """
        return None

    @override
    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if _depth(cls, "training_part") > _depth(cls, "training_batch"):
            cls.training_part = Task.training_part  # type: ignore[method-assign]

    def longest_batch(self) -> Batch:
        """One row, as hard to read as any: what a model is tried with before it is trained."""
        return self.training_batch(1, torch.Generator().manual_seed(0))

    @abstractmethod
    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """All of a split, in a fixed order, in batches that cost about as much as a training batch."""

    @abstractmethod
    def baselines(self) -> dict[str, float]:
        """The headline measure of simple methods on the same test data, by name."""

    @abstractmethod
    def sections(self, model: nn.Module, test: Evaluation) -> list[Section]:
        """Sections of the report beside the curves, which show the model at work on test data."""

    def on_file(self, path: Path) -> "Task":
        """The same task, whose test split is the labelled data of a file.

        Raises:
            ValueError: if this task cannot read files, or not this one; the message names file and row.
        """
        raise ValueError(
            f"{self.title}: this task reads no other files; change its data by --set task.FIELD=VALUE"
        )

    def predictions(self, model: nn.Module, path: Path, batch_size: int) -> Iterator[dict[str, Any]]:
        """The predictions of a model for each row of a file, in order, as JSON values.

        Raises:
            ValueError: if this task cannot read files, or not this one; the message names file and row.
        """
        raise ValueError(
            f"{self.title}: this task reads no other files, so there is nothing to predict; use sma evaluate"
        )


def _depth(of: type, method: str) -> int:
    """How far up among the bases of a class a method is defined."""
    return next(depth for depth, base in enumerate(of.__mro__) if method in vars(base))


class TaskSpec(Spec):
    """Family of tasks: `build` reads the data.

    Another package adds a task by deriving from this and registering its class, with `@sma.register` or by
    an entry point in the group `sma.specs`.
    """

    @abstractmethod
    def build(self) -> Task:
        """Read and split the data.

        Raises:
            ValueError: if there is none, or too little of it; the message says what to do.
        """
