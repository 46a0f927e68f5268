"""The lines of metrics.jsonl about training and validation."""

import math
from typing import Any

import torch

from sma.training.loop.step import Totals
from sma.training.run.position import Position
from sma.training.tasks.task import Evaluation


class Lines:
    """Makes the lines of a run, and measures its speed from one to the next.

    Args:
        counts_operations: whether the operations so far are in them.
    """

    def __init__(self, *, counts_operations: bool) -> None:
        self.counts_operations = counts_operations
        self._n_elements, self._since = 0, 0.0

    def passed(self, n_elements: int) -> None:
        """So many elements were read by a step."""
        self._n_elements += n_elements

    def paused(self, seconds: float) -> None:
        """Training waited so long, which is not a part of its speed."""
        self._since += seconds

    def training(
        self,
        position: Position,
        totals: Totals,
        *,
        gradient_norm: float,
        learning_rate: float,
        loss_scale: float | None,
    ) -> dict[str, Any]:
        """About the steps since the line before.

        Args:
            position: after the last of them; `pending` has the losses of each.
            totals: of the last one.
            gradient_norm: of the last one.
            learning_rate: of the last one.
            loss_scale: what the loss is multiplied by; None where it is not.
        """
        losses = torch.tensor(position.pending, dtype=torch.float64).mean(0)
        row = {
            "step": position.step,
            "split": "training",
            "loss": float(losses[0]),
            "bits": float(losses[1]) / math.log(2),
            "auxiliary": totals.auxiliary,
            "gradient_norm": gradient_norm,
            "learning_rate": learning_rate,
            "activation": totals.counts.rates,
            "elements_per_second": self._n_elements / max(position.elapsed - self._since, 1e-9),
            "seconds": position.elapsed,
            **self._spent(position),
            **({} if loss_scale is None else {"loss_scale": loss_scale}),
        }
        self._n_elements, self._since = 0, position.elapsed
        return row

    def validation(self, position: Position, result: Evaluation) -> dict[str, Any]:
        """About a validation after the steps so far."""
        return {
            "step": position.step,
            "split": "validation",
            "loss": result.loss,
            "bits": result.bits,
            "accuracy": result.accuracy,
            "activation": result.activation_rates,
            "seconds": position.elapsed,
            **self._spent(position),
        }

    def _spent(self, position: Position) -> dict[str, int]:
        return {"operations": position.operations} if self.counts_operations else {}
