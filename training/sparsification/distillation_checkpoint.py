"""The checkpoint of a distillation, from which it goes on."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sma.architectures.files.tensors import load_tensors, save_tensors
from sma.training.optimization.state import load_named_state, named_state
from sma.training.run.errors import RunError
from sma.training.run.folder import guard


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
