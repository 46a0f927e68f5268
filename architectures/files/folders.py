"""Models and decoding states on disk.

A model is `spec.json` and `model.safetensors` in a folder, a state a safetensors file.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sma.architectures.files.atomic import write_whole
from sma.architectures.files.tensors import load_tensors, save_tensors
from sma.architectures.files.yaml import load_spec
from sma.architectures.models.base import Model
from sma.architectures.models.sequence import SequenceModel, SequenceModelState
from sma.state import State

SPEC_FILE = "spec.json"
WEIGHTS_FILE = "model.safetensors"


def save_model(model: Model, folder: str | Path) -> None:
    """Write `spec.json` and `model.safetensors`; shared weights are written once.

    Each file appears whole or not at all, replacing an older one.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    spec = json.dumps(model.spec.model_dump(mode="json"), indent=2) + "\n"
    write_whole(folder / SPEC_FILE, spec)
    save_tensors(folder / WEIGHTS_FILE, _own_tensors(model))


def load_model(folder: str | Path) -> Model:
    """Build the model that a folder describes, with its weights, in evaluation mode.

    Raises:
        ValueError: if the weights are truncated, or belong to another spec; the message names the file.
        FileNotFoundError: if a file is missing.
    """
    folder = Path(folder)
    model = load_spec(folder / SPEC_FILE).build()
    load_weights(model, folder / WEIGHTS_FILE)
    return model.eval()


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Fill a model with the weights in a safetensors file, in their dtype.

    Raises:
        ValueError: if the file is truncated, or its names and shapes are not the model's.
        FileNotFoundError: if there is no such file.
    """
    tensors = load_tensors(path)[0]
    own = _own_tensors(model)
    _compare(tensors, own, f"{path} holds the weights of another spec")
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtypes.pop())
    missing = model.load_state_dict(tensors, strict=False).missing_keys
    assert not set(missing) & own.keys()


def save_state(state: State, path: str | Path) -> None:
    """Write a decoding state to a safetensors file, which appears whole or not at all."""
    save_tensors(Path(path), dict(state.tensors()))


def load_state(model: SequenceModel, path: str | Path) -> SequenceModelState:
    """Read a decoding state, to go on with `model` where another process stopped.

    Args:
        model: of the spec that made the state; its device is where the state goes.
        path: as `save_state` wrote it.

    Raises:
        ValueError: if the file is truncated, or its names and shapes are not those of the model's states.
        FileNotFoundError: if there is no such file.

    Example:
        >>> import tempfile
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=10, d_model=16, n_layers=2).build()
        >>> folder = tempfile.TemporaryDirectory()
        >>> save_state(model.init_state(3), f"{folder.name}/state.safetensors")
        >>> len(load_state(model, f"{folder.name}/state.safetensors").position)
        3
    """
    tensors = load_tensors(path)[0]
    n_rows = len(tensors.get("position", ()))
    state = model.init_state(n_rows)
    own = dict(state.tensors())
    _compare(tensors, own, f"{path} holds the state of another model")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])
    return state


def _compare(tensors: dict[str, Tensor], own: dict[str, Tensor], complaint: str) -> None:
    """Raise ValueError unless names and shapes are equal."""
    wrong = [
        f"{name} ({_shape(tensors.get(name))} in the file, {_shape(own.get(name))} in the model)"
        for name in sorted(own.keys() | tensors.keys())
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{complaint}: {', '.join(wrong[:3])}{more}")


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with shared tensors under their first name only."""
    seen: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {n: t.detach() for n, t in state.items() if seen.setdefault(id(t), n) == n}


def _shape(tensor: Any) -> str:
    return "missing" if tensor is None else str(tuple(tensor.shape))
