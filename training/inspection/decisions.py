"""The decisions of a model about the elements of some rows, as one flat list."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import sma
from sma.training.inspection.reader import Column, Reader
from sma.training.tasks.running import evaluating
from sma.training.tasks.task import Batch, Split, Task


@dataclass(frozen=True)
class Decisions:
    """What C routed modules were decided to do with the n real elements of R rows.

    Attributes:
        columns: C.
        active: `(n, C)` bool.
        confidence: `(n, C)` float.
        row: `(n,)` long, not falling.
        position: `(n,)` long; the place in the row, padding not counted.
        loss: `(n,)` of the target at each element, NaN where there is none; None where rows have one target.
        roles: `(n,)` long, see `Batch.roles`; None if unknown.
        needs: `(n,)` bool, see `Batch.needs`; None if unknown.
    """

    columns: tuple[Column, ...]
    active: Tensor
    confidence: Tensor
    row: Tensor
    position: Tensor
    loss: Tensor | None
    roles: Tensor | None
    needs: Tensor | None

    def __len__(self) -> int:
        return len(self.active)

    @property
    def n_rows(self) -> int:
        """R."""
        return int(self.row[-1]) + 1 if len(self) else 0

    @property
    def names(self) -> list[str]:
        """Those of the columns."""
        return [column.name for column in self.columns]


def count_rows(task: Task, split: Split, batch_size: int) -> int:
    """The rows of a split.

    Raises:
        ValueError: if it holds pairs of rows, or graphs.
    """
    total = 0
    for batch in task.evaluation_batches(split, batch_size):
        if not isinstance(batch.inputs, Tensor):
            found = "pairs of rows" if isinstance(batch.inputs, tuple) else "graphs"
            raise ValueError(
                f"sma inspect reads rows of elements, but the batches of {task.title} are {found}; see the "
                "run's report.html for these"
            )
        total += len(batch.inputs)
    return total


def pick_rows(task: Task, split: Split, batch_size: int, chosen: Sequence[int]) -> list[Batch]:
    """Some rows of a split, in the order of their numbers; a batch of one row each, without padding."""
    wanted, picked, first = set(chosen), {}, 0
    for batch in task.evaluation_batches(split, batch_size):
        n_rows = len(batch.targets)
        for number in wanted & set(range(first, first + n_rows)):
            picked[number] = _one_row(batch, number - first)
        first += n_rows
        if len(picked) == len(wanted):
            break
    return [picked[number] for number in sorted(picked)]


def _one_row(batch: Batch, row: int) -> Batch:
    mask = batch.mask
    kept = slice(None) if not isinstance(mask, Tensor) else mask[row]

    def cut(tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        return tensor[row : row + 1] if tensor.dim() == 1 else tensor[row][kept].unsqueeze(0)

    assert isinstance(batch.inputs, Tensor)
    inputs, targets = cut(batch.inputs), cut(batch.targets)
    assert inputs is not None
    assert targets is not None
    return Batch(inputs, targets, None, cut(batch.roles), cut(batch.needs))


def read_decisions(reader: Reader, rows: Sequence[Batch]) -> Decisions:
    """What a model decides about rows, in evaluation mode.

    Args:
        reader: of the model.
        rows: batches of one row each.

    Raises:
        ValueError: if the model routes nothing, or some layers see other elements than the model.
    """
    like = next(reader.model.parameters())
    columns: tuple[Column, ...] = ()
    active, confidence, losses = [], [], []
    with evaluating(reader.model), torch.no_grad():
        for batch in rows:
            with sma.record() as recording, reader.confidences(reader.model) as own:
                scores = reader.run(batch.to(like))
            columns = _columns(reader, recording, batch)
            calls = recording.layers
            active.append(torch.cat([call.routing.active[0] for call in calls], -1).cpu())
            each = [own.get(call.name, call.routing.confidence)[0] for call in calls]
            confidence.append(torch.cat(each, -1).float().cpu())
            losses.append(reader.loss.of(scores.cpu(), batch.targets)[0])
    lengths = torch.tensor([len(each) for each in active])
    return Decisions(
        columns,
        torch.cat(active),
        torch.cat(confidence),
        torch.repeat_interleave(torch.arange(len(lengths)), lengths),
        torch.cat([torch.arange(length) for length in lengths.tolist()]),
        torch.cat(losses) if rows[0].targets.dim() > 1 else None,
        _joined([batch.roles for batch in rows]),
        _joined([batch.needs for batch in rows]),
    )


def _columns(reader: Reader, recording: sma.Recording, batch: Batch) -> tuple[Column, ...]:
    if not recording.layers:
        raise ValueError(
            "the model has no routers, so there are no decisions to inspect; choose a run of a model with "
            "routed modules, such as a seqboat"
        )
    assert isinstance(batch.inputs, Tensor)
    names = [call.name for call in recording.layers]
    for call in recording.layers:
        if call.mask.shape != batch.inputs.shape[:2] or not call.mask.all() or names.count(call.name) > 1:
            raise ValueError(
                f"layer {call.name!r} is called more than once, or reads other elements than the model, as "
                "inside a routed module; sma inspect reads models whose layers all see every element once"
            )
    return reader.columns(recording)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part[0] for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def spread(n: int, n_all: int) -> list[int]:
    """The numbers of n of `n_all` rows, evenly spaced; all of them if there are not so many.

    Example:
        >>> spread(3, 9), spread(3, 2)
        ([0, 3, 6], [0, 1])
    """
    n = min(n, n_all)
    return [i * n_all // n for i in range(n)]
