"""Losses of labels and of routers, weighted for gradient accumulation."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""The label of an element that is not scored."""


def cross_entropy(logits: Tensor, labels: Tensor, n_items: Tensor | int | None) -> Tensor:
    """Cross-entropy of `(..., C)` against `(...)` in float32 at least, over the number of scored labels.

    Args:
        logits: scores of the classes.
        labels: classes; `IGNORED` ones are not scored.
        n_items: how many labels the whole step scores, over all its micro-batches; None: as many as here. 0
            of none.

    Raises:
        ValueError: if a label is not a class, on a CPU; a GPU has an assertion of its own.
    """
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    try:
        total = torch.nn.functional.cross_entropy(
            exact.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
    except IndexError:
        n_classes = logits.shape[-1]
        wrong = labels[(labels != IGNORED) & ((labels < 0) | (labels >= n_classes))]
        raise ValueError(
            f"labels contain {wrong[0].item()}, but the head scores the classes 0 to {n_classes - 1}; give "
            f"one of those, or {IGNORED} for what is not scored"
        ) from None
    return total / _number(labels, n_items)


def with_routers(
    loss: Tensor, auxiliary: Mapping[str, Tensor], labels: Tensor, n_items: Tensor | int | None
) -> Tensor:
    """A loss with the routers' losses, which count by the share of a step's labels that are scored here.

    Each router's loss is a mean over elements. Over the micro-batches of a step the shares sum up to 1, as
    the micro-batches' parts of the labels' own loss do. In several processes, the elements of each count by
    its own share of the labels: equally, where all score equally many.
    """
    if not auxiliary:
        return loss
    return loss + sum(auxiliary.values()) * share(labels, n_items)


def share(labels: Tensor, n_items: Tensor | int | None) -> Tensor | float:
    """The share of a step's scored labels that these are; 1 if it is not known how many the step has."""
    return 1.0 if n_items is None else (labels != IGNORED).sum() / _number(labels, n_items)


def by_problem(function: Callable[..., Tensor], logits: Tensor, labels: Tensor, config: Any) -> Tensor:
    """The mean of transformers' loss for a regression or for several labels per row, by `problem_type`."""
    kind = config.problem_type
    wanted = logits.squeeze(-1).shape if kind == "regression" and logits.shape[-1] == 1 else logits.shape
    if labels.shape not in (wanted, logits.shape) or not labels.is_floating_point():
        raise ValueError(
            f"labels are {tuple(labels.shape)} {labels.dtype}, but problem_type={kind!r} needs floating-"
            f"point ones of shape {tuple(wanted)}; give those, or another problem_type"
        )
    return function(labels=labels, pooled_logits=logits, config=config)


def _number(labels: Tensor, n_items: Tensor | int | None) -> Tensor | int:
    if n_items is None:
        return (labels != IGNORED).sum().clamp(min=1)
    return n_items.to(labels.device).clamp(min=1) if isinstance(n_items, Tensor) else max(n_items, 1)
