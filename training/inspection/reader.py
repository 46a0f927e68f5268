"""The way a model is read: its scores of rows, the loss of every element, and its routed modules."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import sma
from sma.activation_map import kinds, sub_module_names
from sma.training.tasks.task import IGNORED, Batch


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
class Loss:
    """A loss of single elements, or of rows with one target.

    Attributes:
        of: scores `(B, L, C)` or `(B, C)` and what they should be, `Batch.targets`, give the loss of every
            target, `(B, L)` or `(B, 1)`; NaN where nothing is scored.
        unit: in the plural, such as bits.
        text: what it is, in some words.
        place: after or at, where the target of an element is.
    """

    of: Callable[[Tensor, Tensor], Tensor]
    unit: str
    text: str
    place: str = "after"


def target_bits(scores: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of every target in bits, `(B, L)` or `(B, 1)`; NaN where nothing is scored."""
    exact = scores.flatten(0, -2).to(torch.promote_types(scores.dtype, torch.float32))
    nats = nn.functional.cross_entropy(exact, targets.flatten(), ignore_index=IGNORED, reduction="none")
    bits = (nats / math.log(2)).masked_fill(targets.flatten() == IGNORED, math.nan)
    return bits.view(len(targets), -1)


CROSS_ENTROPY = Loss(target_bits, "bits", "the cross-entropy of every target, in bits")


def scores_of(model: nn.Module, batch: Batch) -> Tensor:
    """The scores of a model on a batch of a task."""
    scores: Tensor = batch.scores(model)
    return scores


def layer_columns(recording: sma.Recording) -> tuple[Column, ...]:
    """The routed modules of recorded layers by number and kind, and what is known of their attention."""
    layers = [(call.name, m, module) for call in recording.layers for m, module in enumerate(call.modules)]
    shown = sub_module_names([kinds(call.layer) for call in recording.layers])
    return tuple(
        replace(_attention(module), layer=layer, module=m, name=name)
        for (layer, m, module), name in zip(layers, shown, strict=True)
    )


def recorded_confidences(model: nn.Module) -> AbstractContextManager[Mapping[str, Tensor]]:
    """No others than those that a recording holds."""
    return nullcontext({})


@dataclass(frozen=True)
class Reader:
    """How a model is read; by default as one that was trained on a task.

    Attributes:
        model: with routed modules.
        scores: of the model on a batch.
        loss: of the scores.
        columns: the routed modules of a recording of the model, in its order.
        confidences: inside this, a run of the model fills in the confidence `(B, L, M)` of layers, by name,
            whose recorded one is not how sure their router is.
    """

    model: nn.Module
    scores: Callable[[nn.Module, Batch], Tensor] = scores_of
    loss: Loss = CROSS_ENTROPY
    columns: Callable[[sma.Recording], tuple[Column, ...]] = layer_columns
    confidences: Callable[[nn.Module], AbstractContextManager[Mapping[str, Tensor]]] = recorded_confidences

    def run(self, batch: Batch) -> Tensor:
        """The scores of a batch, which is on the model's device."""
        return self.scores(self.model, batch)


def _attention(module: nn.Module) -> Column:
    """What is known of the attention in a module."""
    for inner in module.modules():
        if hasattr(inner, "window") and hasattr(inner, "bidirectional"):
            return Column("", 0, "", inner.window, True, inner.bidirectional)  # type: ignore[arg-type]
    return Column("", 0, "")
