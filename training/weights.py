"""Weights that a run starts from: those of another run, or of a folder with a model."""

from pathlib import Path

import torch

from sma.architectures import load_model
from sma.architectures.files.weights import own_tensors
from sma.architectures.models.base import Model
from sma.checks import near
from sma.training.config import WeightsSource
from sma.training.run.errors import cause


def start_from(model: Model, source: WeightsSource) -> None:
    """Fill a model with weights, but for the parts that are new.

    Every other name and shape must be the same in both, so that nothing is left out in silence.

    Raises:
        ValueError: if there are no weights at the source, they belong to another model, or a part that is
            called new is in neither; the message names them.
    """
    own, found = own_tensors(model), own_tensors(_model(source))
    for part in source.new:
        if not any(_below(name, part) for name in (*own, *found)):
            tops = sorted({name.partition(".")[0] for name in own})
            raise ValueError(f"weights.new names {part!r}, which is no part of the model{near(part, tops)}")
    kept = {name for name in own if not any(_below(name, part) for part in source.new)}
    given = {name for name in found if not any(_below(name, part) for part in source.new)}
    wrong = [
        f"{name} ({_shape(found, name)} there, {_shape(own, name)} here)"
        for name in sorted(kept | given)
        if name not in own or name not in found or own[name].shape != found[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"the weights of {source.path} belong to another model: {', '.join(wrong[:3])}{more}; use its "
            "model, or name the parts that are new, such as weights.new=[head]"
        )
    with torch.no_grad():
        for name in kept:
            own[name].copy_(found[name])


def _model(source: WeightsSource) -> Model:
    """The model in a folder; of a run the best one."""
    folder = Path(source.path)
    best = folder / "best" if (folder / "spec.yaml").is_file() else folder
    try:
        return load_model(best)
    except FileNotFoundError as error:
        told = (
            f"the run {folder} has no best model yet; train it until its first validation"
            if best != folder
            else f"{folder} holds no spec.json with model.safetensors; name the folder of a run or of a model"
        )
        raise ValueError(f"weights: {told}") from error
    except ValueError as error:
        raise ValueError(f"weights: {cause(error)}; name another folder") from error


def _below(name: str, part: str) -> bool:
    return f"{name}.".startswith(f"{part}.")


def _shape(tensors: dict[str, torch.Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "missing"
