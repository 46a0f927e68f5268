"""Labelled rows of tokens or features, and batches of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sma.training.tasks.task import Batch


@dataclass(frozen=True)
class Rows:
    """Labelled rows of unlike length, one after another in one array, which may be mapped from a file.

    Attributes:
        values: `(T,)` integers, the tokens, or `(T, F)`, the features of elements.
        ends: `(n,)` int64; row i is `values[ends[i - 1]:ends[i]]`.
        labels: `(n,)` int64, from 0.
        scale: features are divided by it: 255 for bytes that are pixels.
        roles: `(T,)` integers, what each element is; see `Batch.roles`. None: unknown.
        token_roles: `(V,)` integers, the role of each token, where the token alone says it.
    """

    values: NDArray[Any]
    ends: NDArray[np.int64]
    labels: NDArray[np.int64]
    scale: float = 1.0
    roles: NDArray[Any] | None = None
    token_roles: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """`(n,)`, the number of elements of each row."""
        return np.diff(self.ends, prepend=0)

    def row(self, i: int) -> NDArray[Any]:
        """The values of a row."""
        return self.values[self._place(i)]

    def _place(self, i: int) -> slice:
        return slice(self.ends[i - 1] if i else 0, self.ends[i])

    def padded(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The values of some rows, padded on the right to the longest, and the mask `(B, L)`."""
        inputs = _padded([self.row(int(i)) for i in chosen])
        inputs = inputs.float() / self.scale if self.values.ndim == 2 else inputs.long()
        lengths = torch.from_numpy(self.lengths[list(chosen)])
        return inputs, torch.arange(inputs.shape[1]) < lengths.unsqueeze(1)

    def batch(self, chosen: Sequence[int]) -> Batch:
        """Some rows; without a mask if none is shorter than another."""
        inputs, mask = self.padded(chosen)
        targets = torch.from_numpy(self.labels[list(chosen)])
        return Batch(inputs, targets, None if mask.all() else mask, self._roles(chosen))

    def _roles(self, chosen: Sequence[int]) -> Tensor | None:
        if self.roles is not None:
            return _padded([self.roles[self._place(i)] for i in chosen]).long()
        if self.token_roles is not None:
            return _padded([self.token_roles[self.row(i)] for i in chosen]).long()
        return None


@dataclass(frozen=True)
class RowPairs:
    """Labelled pairs of rows, such as two documents.

    Attributes:
        first: the rows that come first, with the labels of the pairs.
        second: as many others.
    """

    first: Rows
    second: Rows

    def __len__(self) -> int:
        return len(self.first)

    @property
    def labels(self) -> NDArray[np.int64]:
        """`(n,)`, from 0."""
        return self.first.labels

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """`(n,)`, the number of elements of both rows together."""
        return self.first.lengths + self.second.lengths

    def batch(self, chosen: Sequence[int]) -> Batch:
        """Some pairs; both halves are padded on their own."""
        (first, first_mask), (second, second_mask) = self.first.padded(chosen), self.second.padded(chosen)
        targets = torch.from_numpy(self.labels[list(chosen)])
        return Batch((first, second), targets, (first_mask, second_mask))


def by_length(rows: Rows | RowPairs, batch_size: int) -> Iterator[Batch]:
    """Batches of all rows, from the shortest to the longest."""
    order = np.argsort(rows.lengths, kind="stable")
    for start in range(0, len(rows), batch_size):
        yield rows.batch(order[start : start + batch_size].tolist())


def _padded(rows: Sequence[NDArray[Any]]) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.from_numpy(np.array(row)) for row in rows], batch_first=True)
