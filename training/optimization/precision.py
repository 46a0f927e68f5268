"""The precision of a computation, and the scaling of gradients that float16 needs."""

import math
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

PrecisionName = Literal["float32", "float64", "bfloat16", "float16"]

SMALLEST_SCALE = 2.0**-10
"""A loss scale below this does not come from large gradients, but from infinite ones."""


class Precision:
    """Autocast, and for float16 torch's gradient scaler.

    float16 has gradients that vanish below 6e-8, so the loss is scaled up before the backward pass. Where a
    gradient is infinite then, the optimizer leaves the step out, and the scale is halved.

    Args:
        name: `float32` and `float64` compute as the weights are, `bfloat16` and `float16` by autocast.
        device: of the computation.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        self.device = device
        self.dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(name)
        self.scaler = torch.amp.GradScaler(device.type) if name == "float16" else None

    @property
    def scale(self) -> float | None:
        """What the loss is multiplied by; None where it is not scaled."""
        return None if self.scaler is None else self.scaler.get_scale()

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, of the scaled loss if it is scaled."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Give gradients their true size."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def skips(self, norm: float) -> bool:
        """Whether a step with such a gradient is left out, and another scale tried."""
        scale = self.scale
        return scale is not None and scale >= SMALLEST_SCALE and not math.isfinite(norm)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Change the weights, unless the gradients are infinite."""
        if self.scaler is None:
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()

    def advance(self, scheduler: torch.optim.lr_scheduler.LRScheduler) -> None:
        """Go on to the learning rate of the next step, also after one that was left out."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            scheduler.step()
