"""Models and decoding states on disk.

A model is `spec.json` and `model.safetensors` in a folder, a state a safetensors file.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from sma.architectures.files.atomic import write_together
from sma.architectures.files.tensors import load_tensors, save_tensors, tensor_file
from sma.architectures.files.weights import (
    check_as_built,
    check_names,
    check_state_value,
    check_value,
    fill,
    own_tensors,
)
from sma.architectures.files.yaml import load_spec
from sma.architectures.models.base import Model, ModelSpec
from sma.architectures.models.sequence import SequenceModel, SequenceModelState
from sma.spec.errors import one_line
from sma.state import State

SPEC_FILE = "spec.json"
WEIGHTS_FILE = "model.safetensors"


def save_model(model: Model, folder: str | Path) -> None:
    """Write `spec.json` and `model.safetensors`; shared weights are written once.

    The files appear whole or not at all, replacing older ones. A model that `torch.compile` returned, or with
    such parts, is saved as the model that was compiled.

    Raises:
        ValueError: if the files could not give the model back, since a part is not what its spec builds (it
            is pruned, quantised, normed by its weight, ...) or a weight is not finite. The message names it
            and says what to do. Nothing is written then.
        OSError: if the files cannot be written.
    """
    folder = Path(folder)
    spec = getattr(model, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise ValueError(
            f"save_model needs a model that a spec built, got {type(model).__name__}; of a wrapped one pass "
            "what is inside, such as model.module"
        )
    check_as_built(getattr(model, "_orig_mod", model), _built_for_shapes(spec))
    text = json.dumps(spec.model_dump(mode="json"), indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_together({folder / SPEC_FILE: text, folder / WEIGHTS_FILE: tensor_file(own_tensors(model))})


def load_model(folder: str | Path) -> Model:
    """Build the model that a folder describes, with its weights, in evaluation mode.

    Weights are compared with the spec before the model takes any memory.

    Raises:
        ValueError: if a file is damaged, or the weights belong to another spec, are not finite or are of a
            dtype that a model does not compute in; the message names file and tensor.
        FileNotFoundError: if a file is missing.
    """
    folder = Path(folder)
    try:
        spec = load_spec(folder / SPEC_FILE)
    except ValidationError as error:
        path = folder / SPEC_FILE
        raise ValueError(
            f"{path} is not a model's spec ({one_line(error)}); mend it or copy it again"
        ) from None
    tensors = _read(folder / WEIGHTS_FILE, own_tensors(_built_for_shapes(spec)))
    model = spec.build()
    fill(model, tensors)
    return model.eval()


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Fill a model with the weights in a safetensors file, each in its own dtype.

    Raises:
        ValueError: if the file is damaged, or its names and shapes are not the model's, or values are not
            finite or of a dtype that a model does not compute in. The model is as it was then.
        FileNotFoundError: if there is no such file.
    """
    fill(model, _read(path, own_tensors(model)))


def save_state(state: State, path: str | Path) -> None:
    """Write a decoding state to a safetensors file, which appears whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    save_tensors(Path(path), dict(state.tensors()))


def load_state(model: SequenceModel, path: str | Path) -> SequenceModelState:
    """Read a decoding state, to continue with `model` where another process stopped.

    Args:
        model: of the spec that made the state; its device is where the state goes.
        path: as `save_state` wrote it.

    Raises:
        ValueError: if the file is damaged, if its names, shapes and kinds of numbers are not those of the
            model's states, or if values are not finite or counts negative.
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
    one = model.init_state(1)  # a row takes little; how many there are is said by the file alone
    found = load_tensors(path, n_own=sum(1 for _ in one.tensors()))[0]
    n_rows = len(found["position"]) if "position" in found and found["position"].dim() else 0
    own = {name: tensor.expand(n_rows, *tensor.shape[1:]) for name, tensor in one.tensors()}
    check_names(found, own, f"{path} holds the state of another model")
    for name, tensor in own.items():
        check_state_value(name, found[name], tensor, f"{path}: ")
    tensors = (found[name].to(tensor) for name, tensor in one.tensors())
    return one.map(lambda _: next(tensors))


def _read(path: str | Path, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = load_tensors(path, n_own=len(own))[0]
    check_names(tensors, own, f"{path} holds the weights of another spec")
    for name, tensor in tensors.items():
        check_value(name, tensor, own[name], f"{path}: ")
    return tensors


def _built_for_shapes(spec: ModelSpec) -> Model:
    """The model on the meta device, without memory; a part that needs data to be built gets the CPU's."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return spec.build()
        except Exception:  # the part may be another package's
            return spec.build()
