"""Checkpoints: safetensors for tensors, JSON for the rest, no pickle."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import sma
from sma.architectures import save_model
from sma.architectures.files.atomic import sync_folder
from sma.architectures.versions import UPGRADE
from sma.training.config import WITHOUT_INFLUENCE, TrainSpec
from sma.training.run.errors import RunError
from sma.training.run.folder import Run, guard

FORMAT = "1"


@dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        step: steps done.
        elapsed: seconds spent.
        best_step: the step of the best validation; None before the first.
        best_loss: its loss.
        pending: of each step since the last logged line, the loss and the cross-entropy in it.
    """

    step: int = 0
    elapsed: float = 0.0
    best_step: int | None = None
    best_loss: float | None = None
    pending: tuple[tuple[float, float], ...] = ()

    def at(self, **changes: Any) -> "Position":
        """A copy with some fields changed."""
        return replace(self, **changes)


def save_checkpoint(
    run: Run, spec: TrainSpec, position: Position, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write `last.safetensors`: weights, optimizer state and position.

    Random number generators need no saving: every step seeds them, see `Trainer`.

    Raises:
        RunError: if it cannot be written; the older checkpoint is untouched then.
    """
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    names = [name for name, _ in model.named_parameters()]
    scalars: dict[str, dict[str, Any]] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{names[index]}/{key}"] = value
            else:
                scalars.setdefault(names[index], {})[key] = value
    metadata = {
        "format": FORMAT,
        "spec": json.dumps(spec.influential()),
        "position": json.dumps(asdict(position)),
        "optimizer": json.dumps(scalars),
    }
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    run.write(run.last.name, save(contiguous, metadata))


def save_best(run: Run, model: nn.Module) -> None:
    """Write `best/`, whose weights are replaced as a whole.

    Raises:
        RunError: if it cannot be written; older weights are untouched then.
    """
    with guard(run.best, run.advice), tempfile.TemporaryDirectory(dir=run.path, prefix=".best.") as folder:
        save_model(model, folder)  # type: ignore[arg-type]
        run.best.mkdir(exist_ok=True)
        for file in Path(folder).iterdir():
            with file.open("rb+") as written:
                os.fsync(written.fileno())
            os.replace(file, run.best / file.name)
        sync_folder(run.best)


def load_checkpoint(
    run: Run, spec: TrainSpec, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Position:
    """Put weights and optimizer state back as they were, and say where that was.

    Raises:
        RunError: if the file is missing or damaged.
        ValueError: if it belongs to another spec; the message names the fields.
    """
    tensors, metadata = read_checkpoint(run)
    _check_spec(run, spec, json.loads(metadata["spec"]))
    model.load_state_dict(_below(tensors, "model/"))
    _load_optimizer(optimizer, model, _below(tensors, "optimizer/"), json.loads(metadata["optimizer"]))
    return _position(metadata)


def read_position(run: Run) -> Position:
    """Where the newest checkpoint stands.

    Raises:
        RunError: if the file is missing or damaged.
    """
    return _position(read_checkpoint(run)[1])


def load_last_weights(run: Run, model: nn.Module) -> None:
    """Fill a model with the weights of the newest checkpoint.

    Raises:
        RunError: if the file is missing or damaged.
    """
    model.load_state_dict(_below(read_checkpoint(run)[0], "model/"))


def read_checkpoint(run: Run) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of `last.safetensors`.

    Raises:
        RunError: if the file is missing, cut off, or of a newer format.
    """
    path = run.last
    if not path.is_file():
        raise RunError(f"{path} is missing, so the run cannot go on; start a new one with: {_again(run)}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError) as error:
        best = f" (the best weights are in {run.best})" if (run.best / "model.safetensors").exists() else ""
        raise RunError(
            f"{path} is damaged or cut off ({error}); restore it from a copy{best}, or start a new run with: "
            f"{_again(run)}"
        ) from error
    found = metadata.get("format", "of another program")
    if found != FORMAT:
        remedy = UPGRADE if found.isdecimal() else f"start a new run with: {_again(run)}"
        raise RunError(f"{path} has format {found}, and sma {sma.__version__} reads {FORMAT}; {remedy}")
    return tensors, metadata


def _position(metadata: dict[str, str]) -> Position:
    values = json.loads(metadata["position"])
    return Position(**{**values, "pending": tuple((total, entropy) for total, entropy in values["pending"])})


def _again(run: Run) -> str:
    return f"sma train --spec {run.path / 'spec.yaml'}"


def _check_spec(run: Run, spec: TrainSpec, saved: dict[str, Any]) -> None:
    now = spec.influential()
    others = spec.model_dump(mode="json", include=WITHOUT_INFLUENCE)
    saved = TrainSpec.model_validate({**saved, **others}).influential()  # in today's format
    differences = [
        f"{path} ({_at(saved, path)!r} there, {_at(now, path)!r} here)"
        for path in sorted(_differences(saved, now))
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ValueError(
            f"{run.last} is the checkpoint of another spec: {', '.join(differences[:3])}{more}; resume "
            "without changing these, or start a new run"
        )


def _differences(a: Any, b: Any, path: str = "") -> set[str]:
    """The dotted paths at which two nests of mappings and lists differ."""
    if isinstance(a, list) and isinstance(b, list):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return set() if a == b else {path}
    prefix = f"{path}." if path else ""
    return set().union(*(_differences(a.get(k), b.get(k), f"{prefix}{k}") for k in {**a, **b}), set())


def _at(values: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(values, list):
            values = values[int(name)] if int(name) < len(values) else None
        else:
            values = values.get(name) if isinstance(values, dict) else None
    return values


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _load_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor], scalars: dict[str, Any]
) -> None:
    state: dict[int, dict[str, Any]] = {}
    index = {name: i for i, (name, _) in enumerate(model.named_parameters())}
    for path, tensor in tensors.items():
        name, key = path.rsplit("/", 1)
        state.setdefault(index[name], {})[key] = tensor
    for name, values in scalars.items():
        state.setdefault(index[name], {}).update(values)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
