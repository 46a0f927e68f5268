"""The checkpoint of a distillation, from which it goes on."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sma.architectures.files.tensors import load_tensors, save_tensors
from sma.training.interrupts import Terminated, interruptible
from sma.training.optimization.state import load_named_state, named_state
from sma.training.run.errors import RunError
from sma.training.run.folder import guard

CTRL_C = (
    "Ctrl-C: the distillation stops after this step and leaves a checkpoint. Press Ctrl-C again to stop at "
    "once; what was saved is kept"
)
SIGTERM = "SIGTERM: the distillation stops after this step and leaves a checkpoint"


@dataclass(frozen=True)
class DistillationCheckpoint:
    """A file with the weights and the optimizer's state.

    Attributes:
        path: of the file, in safetensors' format.
        seconds: how long a distillation goes on between two of them.
    """

    path: Path
    seconds: float = 300.0

    def save(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the file, whole or not at all.

        Raises:
            RunError: if it cannot be written.
        """
        tensors, scalars = named_state(model, optimizer)
        tensors |= {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
        metadata = {"step": json.dumps(step), "optimizer": json.dumps(scalars)}
        with guard(self.path.parent, "name another folder"):
            save_tensors(self.path, tensors, metadata)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """The number of steps that lie behind, 0 if there is no file; weights and state are put back.

        Raises:
            RunError: if the file is damaged, or that of another model.
        """
        if not self.path.exists():
            return 0
        try:
            tensors, metadata = load_tensors(self.path)
            model.load_state_dict(
                {
                    name.removeprefix("model/"): tensor
                    for name, tensor in tensors.items()
                    if name.startswith("model/")
                }
            )
            load_named_state(model, optimizer, tensors, json.loads(metadata["optimizer"]))
            return int(json.loads(metadata["step"]))
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                f"{self.path} does not hold this distillation ({type(error).__name__}: {reason}); remove it "
                "to begin anew"
            ) from error


@contextmanager
def keeping(
    checkpoint: DistillationCheckpoint | None,
    n_steps: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Iterator[Callable[[int], None]]:
    """Around a distillation, which calls what is yielded after every step, with the step's number.

    The checkpoint is written when it is due, after the last step, and after a step in which Ctrl-C or SIGTERM
    arrived, which stops the distillation. Without a checkpoint nothing happens.

    Args:
        checkpoint: what is written.
        n_steps: of the whole distillation.
        model: what is trained.
        optimizer: of its parameters.

    Raises:
        KeyboardInterrupt: after Ctrl-C, with a message that says what was kept.
        Terminated: the same after SIGTERM.
        RunError: if the checkpoint cannot be written.
    """
    if checkpoint is None:
        yield lambda step: None
        return
    saved = time.monotonic()
    with interruptible(_LOGGER.warning, ctrl_c=CTRL_C, sigterm=SIGTERM) as interrupt:

        def keep(step: int) -> None:
            nonlocal saved
            requested = interrupt.requested
            if requested or step == n_steps or time.monotonic() - saved > checkpoint.seconds:
                checkpoint.save(step, model, optimizer)
                saved = time.monotonic()
            if requested:
                stopped = Terminated if requested == "terminated" else KeyboardInterrupt
                raise stopped(
                    f"stopped after step {step} of {n_steps}, which is kept in {checkpoint.path}; the same "
                    "command goes on from there"
                )

        yield keep


_LOGGER = logging.getLogger("sma.training")
