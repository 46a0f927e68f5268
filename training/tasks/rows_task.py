"""Classification of rows: a row of tokens or features, and one label."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from sma.lazy import needs
from sma.training.tasks.reading.row_reader import RowReader
from sma.training.tasks.rows import RowPairs, Rows, by_length
from sma.training.tasks.running import evaluating
from sma.training.tasks.section import Section
from sma.training.tasks.task import Batch, Evaluation, Part, Split, Task

POOL = 8
"""A batch is drawn from so many times its rows, sorted by length: rows of like length share a batch."""
N_READ = 5000
"""The rows of a split that baselines read."""
N_COUNTED = 4096
"""Baselines count so many tokens apart; more share counts."""


class RowsTask(Task):
    """Say which class a row belongs to.

    Args:
        splits: the rows, or pairs of rows, that are called training, validation and test.
        title: names the data.
        facts: about the data, added to those that hold for all rows.
        classes: the name of each class.
        unit: what one row is called.
        names: of tokens, by which a report shows a row; None where rows are features.
        side: of square images, whose rows are pixels line by line; None where they are something else.
        role_names: what elements may be, if the rows say it.
        reader: of the rows of other files; None: the column `inputs` holds lists of tokens or numbers, and
            `label` the name of the class.

    Raises:
        ValueError: if a split is empty, a row has no elements or a label has no class; or if scikit-learn is
            missing, which the baselines need.
    """

    headline: Literal["bits", "accuracy"] = "accuracy"

    def __init__(
        self,
        splits: Mapping[str, Rows] | Mapping[str, RowPairs],
        *,
        title: str,
        facts: Mapping[str, str],
        classes: Sequence[str],
        unit: str = "row",
        names: Sequence[str] | None = None,
        side: int | None = None,
        role_names: Sequence[str] = (),
        reader: RowReader | None = None,
    ) -> None:
        with needs("tasks", "classification of rows"):
            import sklearn  # noqa: F401  (before the training, after which its baselines are scored)

        self.splits = {name: splits[name] for name in ("training", "validation", "test")}
        self.title, self.classes, self.unit, self.names, self.side = title, classes, unit, names, side
        self.n_classes, self.role_names, self.columns = len(classes), role_names, side
        self.reader = reader
        for name, rows in self.splits.items():
            _check(name, rows, self.n_classes)
        self.facts = {
            **facts,
            **{f"{name} data": f"{len(rows):,} {unit}s" for name, rows in self.splits.items()},
            "padding": f"{self._padding():.1%} of the elements of a training batch of 16, on average",
        }

    @override
    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Rows drawn at random, each as likely as any other, of like length where lengths differ."""
        rows = self.splits["training"]
        return rows.batch(self._draw(batch_size, generator).tolist())

    @override
    def element_texts(self, row: Tensor) -> list[str]:
        if self.names is None:
            return super().element_texts(row)
        return [self.names[token] for token in row.tolist()]

    @override
    def training_part(self, batch_size: int, generator: torch.Generator, rank: int, world: int) -> Part:
        rows, drawn = self.splits["training"], self._draw(batch_size, generator)
        n_real = int(rows.lengths[drawn.numpy()].sum())
        return Part(rows.batch(drawn[rank::world].tolist()), batch_size, n_real)

    @override
    def longest_batch(self) -> Batch:
        """The longest row of all splits."""
        rows = max(self.splits.values(), key=lambda rows: rows.lengths.max())
        return rows.batch([int(rows.lengths.argmax())])

    @override
    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """From the shortest row to the longest."""
        return by_length(self.splits[split], batch_size)

    @override
    def baselines(self) -> dict[str, float]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        training, test = self.splits["training"], self.splits["test"]
        common = int(np.bincount(training.labels).argmax())
        found = {
            f"always the most common class ({self.classes[common]})": float((test.labels == common).mean())
        }
        of_tokens = {"logistic regression of token counts": LogisticRegression(max_iter=1000)}
        of_pixels = {
            "logistic regression": LogisticRegression(max_iter=1000),
            "3 nearest neighbours": KNeighborsClassifier(3),
        }
        known = [(_features(rows, self.names), rows.labels[:N_READ]) for rows in (training, test)]
        for name, classifier in (of_tokens if self.names is not None else of_pixels).items():
            if known[0][0] is not None and len(set(known[0][1].tolist())) > 1:
                found[name] = float(classifier.fit(*known[0]).score(*known[1]))
        return found

    @override
    def sections(self, model: nn.Module, test: Evaluation) -> list[Section]:
        """Confusions, and rows tinted by activations."""
        from sma.training.tasks.rows_section import rows_sections

        return rows_sections(
            self.splits["test"],
            model,
            classes=self.classes,
            unit=self.unit,
            names=self.names,
            side=self.side,
        )

    @override
    def on_file(self, path: Path) -> "RowsTask":
        other = copy(self)
        other.splits = {**self.splits, "test": self._read(path, labelled=True)}
        return other

    @override
    def predictions(self, model: nn.Module, path: Path, batch_size: int) -> Iterator[dict[str, Any]]:
        """The class of each row, and the probability of every class."""
        rows = self._read(path, labelled=False)
        probabilities = np.zeros((len(rows), self.n_classes))
        order = np.argsort(rows.lengths, kind="stable")
        like = next(model.parameters())
        with evaluating(model), torch.no_grad():
            for start in range(0, len(rows), batch_size):
                chosen = order[start : start + batch_size].tolist()
                scores = rows.batch(chosen).to(like).scores(model)
                probabilities[chosen] = scores.double().softmax(-1).cpu().numpy()
        for number, row in enumerate(probabilities, 1):
            each = {name: float(f"{p:.6g}") for name, p in zip(self.classes, row, strict=True)}
            yield {"row": number, "prediction": self.classes[int(row.argmax())], "probabilities": each}

    def _read(self, path: Path, *, labelled: bool) -> Rows:
        """The rows of another file."""
        like = self.splits["training"]
        if isinstance(like, RowPairs):
            raise ValueError(
                f"{path}: pairs of rows are not read from other files; use --set task.folder=FOLDER"
            )
        reader = self.reader
        if reader is None:
            reader = RowReader("inputs", "label", "features" if like.values.ndim == 2 else "tokens")
        return reader.rows(path, self.classes, labelled=labelled, like=like)

    def _draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        rows = self.splits["training"]
        lengths = rows.lengths
        if (lengths == lengths[0]).all():
            return torch.randint(len(rows), (batch_size,), generator=generator)
        pool = torch.randint(len(rows), (POOL * batch_size,), generator=generator)
        by_length = pool[torch.from_numpy(lengths[pool.numpy()]).argsort(stable=True)]
        start = batch_size * int(torch.randint(POOL, (), generator=generator))
        return by_length[start : start + batch_size]

    def _padding(self) -> float:
        """The share of padding in training batches, estimated from 50."""
        lengths = self.splits["training"].lengths
        generator = torch.Generator().manual_seed(0)
        batches = [lengths[self._draw(16, generator).numpy()] for _ in range(50)]
        real = sum(int(batch.sum()) for batch in batches)
        return 1 - real / sum(len(batch) * int(batch.max()) for batch in batches)


def _features(rows: Rows | RowPairs, names: Sequence[str] | None) -> NDArray[np.float64] | None:
    """`(n, F)` of the first rows: shares of tokens, or all features of rows of one length; else None."""
    if isinstance(rows, RowPairs):
        return None
    chosen = range(min(len(rows), N_READ))
    if names is not None:
        n_counted = min(len(names), N_COUNTED)
        counts = np.stack(
            [np.bincount(rows.row(i).astype(np.int64) % n_counted, minlength=n_counted) for i in chosen]
        )
        return counts / counts.sum(1, keepdims=True)
    if (rows.lengths == rows.lengths[0]).all():
        return np.stack([rows.row(i).ravel() for i in chosen]) / rows.scale
    return None


def _check(name: str, rows: Rows | RowPairs, n_classes: int) -> None:
    if len(rows) == 0:
        raise ValueError(f"the {name} split has no rows; give it some")
    halves = (rows.first, rows.second) if isinstance(rows, RowPairs) else (rows,)
    for empty in filter(len, (np.flatnonzero(half.lengths <= 0) for half in halves)):
        raise ValueError(f"row {empty[0]} of the {name} split has no elements; remove it or fill it")
    wrong = np.flatnonzero((rows.labels < 0) | (rows.labels >= n_classes))
    if len(wrong):
        raise ValueError(
            f"row {wrong[0]} of the {name} split has label {rows.labels[wrong[0]]}, and the classes are 0 to "
            f"{n_classes - 1}; correct the label or name more classes"
        )
