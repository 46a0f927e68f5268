"""Checkpoints: safetensors for tensors, JSON for the rest, no pickle."""

import json
from dataclasses import asdict
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.amp import GradScaler

import sma
from sma.architectures import save_model
from sma.architectures.files.tensors import load_tensors, save_tensors
from sma.architectures.models.base import UPGRADE
from sma.spec.errors import one_line
from sma.training.config import WITHOUT_INFLUENCE, TrainSpec
from sma.training.differences import differences, name_differences
from sma.training.optimization.state import load_named_state, named_state
from sma.training.parallel.tensors import is_sharded, owner, sharded_like, whole
from sma.training.run.background import Background
from sma.training.run.errors import RunError, cause
from sma.training.run.folder import Run, guard
from sma.training.run.position import Position
from sma.training.run.records import Metadata
from sma.training.run.shards import load_shards, remove_shards, save_shards
from sma.training.tasks.running import first_line

FORMAT = "1"


def save_checkpoint(
    run: Run,
    spec: TrainSpec,
    position: Position,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    average: nn.Module | None = None,
    scaler: GradScaler | None = None,
    background: Background | None = None,
) -> None:
    """Write `last.safetensors`: weights, optimizer state and position, with a checksum of each.

    An average of the weights, and the state of a gradient scaler, where there are such.

    Random number generators need no saving: every step seeds them, see `Trainer`.

    Args:
        run: its folder.
        spec: of the run.
        position: how far it is.
        model: what is trained.
        optimizer: with its state.
        average: of the weights.
        scaler: of the loss.
        background: writes a copy of all this, after the checkpoint before. None: write before returning.

    Raises:
        RunError: if it cannot be written, or the one before could not be in the background; the older
            checkpoint is untouched then.
    """
    tensors: dict[str, Tensor] = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in _state(average).items()}
    of_optimizer, scalars = named_state(model, optimizer)
    tensors |= of_optimizer
    metadata = {
        "format": FORMAT,
        "spec": json.dumps(spec.influential()),
        "position": json.dumps(asdict(position)),
        "optimizer": json.dumps(scalars),
        "scaler": json.dumps({} if scaler is None else scaler.state_dict()),
        "state": json.dumps([name for name in tensors if not name.startswith("model/")]),
    }
    run.sync_metrics()
    if any(map(is_sharded, tensors.values())):
        save_shards(run, tensors, metadata, background)
    elif not run.writes:
        return
    elif background is None:
        _write(run, tensors, metadata)
    else:
        background.wait()  # so that there are never two copies
        copied = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        background.start(lambda: _write(run, copied, metadata))


def _write(run: Run, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with guard(run.last, run.advice):
        save_tensors(run.last, tensors, metadata)
        remove_shards(run)


def save_best(run: Run, model: nn.Module) -> None:
    """Write `best/`, whose weights are replaced as a whole.

    Raises:
        RunError: if it cannot be written; older weights are untouched then.
    """
    tensors = model.state_dict()
    if any(map(is_sharded, tensors.values())):
        gathered = {name: whole(tensor).cpu() for name, tensor in tensors.items()}
        dtype = next(model.parameters()).dtype
        model = model.spec.build().to(dtype)  # type: ignore[operator, union-attr]
        model.load_state_dict(gathered)
    if run.writes:
        with guard(run.best, run.advice):
            save_model(model, run.best)  # type: ignore[arg-type]


def load_checkpoint(
    run: Run,
    spec: TrainSpec,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    average: nn.Module | None = None,
    scaler: GradScaler | None = None,
) -> Position:
    """Put weights and optimizer state back as they were, and say where that was.

    Raises:
        RunError: if the file is missing, damaged or incomplete.
        ValueError: if it belongs to another spec; the message names the fields.
    """
    tensors, metadata = read_checkpoint(run, model)
    _check_spec(run, spec, metadata.spec, metadata.position.step)
    _load_weights(run, model, tensors)
    missing = [name for name in metadata.state if name not in tensors]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise RunError(
            f"{run.newest} lacks state of the optimizer ({', '.join(missing[:3])}{more}), without which "
            f"steps would be others; {_remedy(run)}"
        )
    try:
        load_named_state(model, optimizer, tensors, metadata.optimizer)
        if average is not None:
            average.load_state_dict(_below(tensors, "average/"))
        if scaler is not None:
            scaler.load_state_dict(metadata.scaler)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{run.newest} does not hold the optimizer's state ({type(error).__name__}: "
            f"{first_line(error)}); {_remedy(run)}"
        ) from error
    return metadata.position


def read_position(run: Run) -> Position:
    """Where the newest checkpoint stands.

    Raises:
        RunError: if the file is missing or damaged.
    """
    return read_checkpoint(run)[1].position


def load_last_weights(run: Run, model: nn.Module) -> None:
    """Fill a model with the weights of the newest checkpoint.

    Raises:
        RunError: if the file is missing or damaged, or holds the weights of another model.
    """
    _load_weights(run, model, read_checkpoint(run)[0])


def read_checkpoint(run: Run, model: nn.Module | None = None) -> tuple[dict[str, Tensor], Metadata]:
    """The tensors and the metadata of the newest checkpoint.

    Args:
        run: its folder.
        model: tensors are sharded as those of this model are. None: they are whole.

    Raises:
        RunError: if the file is missing, damaged, or of a newer format.
    """
    like = {} if model is None else model.state_dict()
    try:
        if run.newest == run.last:
            tensors, fields = load_tensors(run.last)
            tensors = {name: sharded_like(tensor, owner(name, like)) for name, tensor in tensors.items()}
        else:
            tensors, fields = load_shards(run.newest, like)
    except FileNotFoundError as error:
        raise RunError(
            f"{run.newest} is missing, so the run cannot go on; restore it from a copy, or start a new one "
            f"with: {run.again}"
        ) from error
    except ValueError as error:
        reason = cause(error).removeprefix(f"{run.last} is ")
        raise RunError(f"{run.newest} is damaged or cut off ({reason}); {_remedy(run)}") from error
    found = fields.get("format", "of another program")
    if found != FORMAT:
        remedy = UPGRADE if found.isdecimal() else f"start a new run with: {run.again}"
        raise RunError(f"{run.newest} has format {found}, and sma {sma.__version__} reads {FORMAT}; {remedy}")
    try:
        return tensors, Metadata.model_validate(fields)
    except ValidationError as error:
        raise RunError(
            f"the metadata of {run.newest} are damaged ({one_line(error)}); {_remedy(run)}"
        ) from error


def _remedy(run: Run) -> str:
    best = f" (the best weights are in {run.best})" if (run.best / "model.safetensors").exists() else ""
    return f"restore it from a copy{best}, or start a new run with: {run.again}"


def check_spec(run: Run, now: TrainSpec, then: TrainSpec, done: int = 0) -> None:
    """See that two specs of a run differ only in its steps or operations and in fields without influence.

    Args:
        run: whose specs they are.
        now: the spec that it shall go on with.
        then: the spec that it has.
        done: steps that lie behind; there cannot be fewer.

    Raises:
        ValueError: if they do not; the message names the fields.
    """
    if now.steps is not None and now.steps != then.steps and now.steps < done:
        raise ValueError(
            f"{run.path} has {done} steps behind it, more than steps={now.steps}; set a higher number"
        )
    found = sorted(
        (
            one
            for one in differences(then.influential(), now.influential())
            if one[0] not in ("steps", "operations")
        ),
        key=lambda found: found[0],
    )
    if found:
        raise ValueError(
            f"{run.path} is a run of another spec: {name_differences(found)}; resume "
            "without changing these, or start a new run"
        )


def _check_spec(run: Run, spec: TrainSpec, saved: dict[str, Any], done: int) -> None:
    others = spec.model_dump(mode="json", include=WITHOUT_INFLUENCE)
    try:
        then = TrainSpec.model_validate({**saved, **others})  # in today's format
    except ValidationError as error:
        raise RunError(
            f"the metadata of {run.newest} are damaged (spec.{one_line(error)}); {_remedy(run)}"
        ) from error
    check_spec(run, spec, then, done)


def _load_weights(run: Run, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(_below(tensors, "model/"))
    except RuntimeError as error:
        raise RunError(
            f"{run.newest} does not hold the weights of this model ({' '.join(str(error).split())[:300]}); "
            f"{_remedy(run)}"
        ) from error


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _state(module: nn.Module | None) -> dict[str, Tensor]:
    return {} if module is None else dict(module.state_dict())
