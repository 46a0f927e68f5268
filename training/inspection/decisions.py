"""The decisions of a model about the elements of some rows, as one flat list."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import sma
from sma.activation_map import kinds, sub_module_names
from sma.training.tasks.running import evaluating, run_batch
from sma.training.tasks.task import IGNORED, Batch, Split, Task


@dataclass(frozen=True)
class Column:
    """A routed module of a model.

    Attributes:
        layer: dotted name of its layer.
        module: its number there.
        name: what a reader is told, such as `layer 1, GAU`.
        window: how many activated neighbours its attention sees on one side; None: all, or no attention.
        attends: whether it has attention.
        bidirectional: whether that looks ahead.
    """

    layer: str
    module: int
    name: str
    window: int | None = None
    attends: bool = False
    bidirectional: bool = False


@dataclass(frozen=True)
class Decisions:
    """What C routed modules were decided to do with the n real elements of R rows.

    Attributes:
        columns: C.
        active: `(n, C)` bool.
        confidence: `(n, C)` float.
        row: `(n,)` long, not falling.
        position: `(n,)` long; the place in the row, padding not counted.
        loss: `(n,)` bits of the target at each element, NaN where there is none; None where rows have one
            target.
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


def read_decisions(model: nn.Module, rows: Sequence[Batch]) -> Decisions:
    """What a model decides about rows, in evaluation mode.

    Args:
        model: with SMA layers.
        rows: batches of one row each.

    Raises:
        ValueError: if the model routes nothing, or some layers see other elements than the model.
    """
    like = next(model.parameters())
    columns: tuple[Column, ...] = ()
    active, confidence, losses = [], [], []
    with evaluating(model), torch.no_grad():
        for batch in rows:
            scores, recording = run_batch(model, batch.to(like))
            columns = _columns(recording, batch)
            calls = recording.layers
            active.append(torch.cat([call.routing.active[0] for call in calls], -1).cpu())
            confidence.append(torch.cat([call.routing.confidence[0] for call in calls], -1).float().cpu())
            losses.append(target_bits(scores.cpu(), batch.targets)[0])
    lengths = torch.tensor([len(each) for each in active])
    return Decisions(
        columns,
        torch.cat(active),
        torch.cat(confidence),
        torch.repeat_interleave(torch.arange(len(lengths)), lengths),
        torch.cat([torch.arange(length) for length in lengths.tolist()]),
        torch.cat(losses) if rows[0].targets.dim() == 2 else None,
        _joined([batch.roles for batch in rows]),
        _joined([batch.needs for batch in rows]),
    )


def target_bits(scores: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of every target in bits, `(B, L)` or `(B, 1)`; NaN where nothing is scored."""
    exact = scores.flatten(0, -2).to(torch.promote_types(scores.dtype, torch.float32))
    nats = nn.functional.cross_entropy(exact, targets.flatten(), ignore_index=IGNORED, reduction="none")
    bits = (nats / math.log(2)).masked_fill(targets.flatten() == IGNORED, math.nan)
    return bits.view(len(targets), -1)


def _columns(recording: sma.Recording, batch: Batch) -> tuple[Column, ...]:
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
    layers = [(call.name, m, module) for call in recording.layers for m, module in enumerate(call.modules)]
    shown = sub_module_names([kinds(call.layer) for call in recording.layers])
    return tuple(
        replace(_attention(module), layer=layer, module=m, name=name)
        for (layer, m, module), name in zip(layers, shown, strict=True)
    )


def _attention(module: nn.Module) -> Column:
    """What is known of the attention in a module."""
    for inner in module.modules():
        if hasattr(inner, "window") and hasattr(inner, "bidirectional"):
            return Column("", 0, "", inner.window, True, inner.bidirectional)  # type: ignore[arg-type]
    return Column("", 0, "")


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
