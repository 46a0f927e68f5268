"""What happens before the first step: seeds, the device, and whether the model fits the task."""

import hashlib
import random

import numpy as np
import torch
from torch import nn

from sma.training.evaluation import evaluating, run_batch
from sma.training.tasks.task import Task


def derive_seed(*numbers: int) -> int:
    """A seed in [0, 2**63) that depends on all of some numbers, and is unrelated for different ones."""
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed the global random number generators of torch, numpy and Python."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (what a plug-in may use)


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU if there is one.

    Raises:
        ValueError: if there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={name!r} does not work here ({_first_line(error)}); use device=cpu"
        ) from error
    return device


def check_fit(model: nn.Module, task: Task) -> None:
    """Run one row of the task through the model.

    Raises:
        ValueError: if the model cannot read the task's inputs, or scores another number of classes.
    """
    batch = task.training_batch(1, torch.Generator().manual_seed(0)).to(next(model.parameters()))
    try:
        with evaluating(model), torch.no_grad():
            logits, _ = run_batch(model, batch)
    except (ValueError, RuntimeError, IndexError, TypeError, AttributeError) as error:
        kind = "sequence_model" if isinstance(batch.inputs, torch.Tensor) else "graph_model"
        raise ValueError(
            f"the model cannot read this task's inputs ({_first_line(error)}); use a {kind} with the "
            f"embedding that fits {task.title}"
        ) from error
    expected = (*batch.targets.shape, task.n_classes)
    if tuple(logits.shape) != expected:
        raise ValueError(
            f"the model scores {tuple(logits.shape)} where {task.title} needs {expected}; change its head, "
            f"or its vocab_size or n_classes to {task.n_classes}"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
