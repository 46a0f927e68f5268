"""Seeds, and the device of a run."""

import hashlib
import random

import numpy as np
import torch

from sma.training.tasks.running import first_line


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
        ValueError: if there is no such device here, or it does not hold numbers.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(
            f"device={name!r} does not work here ({first_line(error)}); use device=cpu"
        ) from error
    return device
