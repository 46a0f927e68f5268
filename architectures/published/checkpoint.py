"""Checkpoints of the published training code."""

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from sma.architectures.files.reading import check_regular
from sma.architectures.models.sequence import SequenceModel
from sma.architectures.published.arguments import kind_of
from sma.architectures.published.load import model_from_reference
from sma.spec.errors import one_line


def model_from_checkpoint(path: str | Path) -> SequenceModel:
    """The SeqBoat model in a checkpoint of the published training code, such as `checkpoint_best.pt`.

    Nothing in the file is executed: it may hold tensors, plain values and an `argparse.Namespace`, and what
    else it asks for is refused.

    Args:
        path: of the file, which holds the command line's arguments (`args`, or `cfg` with a `model`) and the
            state dict (`model`).

    Returns:
        The model in evaluation mode, in the dtypes of its weights.

    Raises:
        ValueError: if the file is damaged, asks for code to be run, holds no SeqBoat, or holds one with a
            part that this project has not; the message says which.
        FileNotFoundError: if there is no such file.
    """
    checkpoint = _read(Path(path))
    state = _state(path, checkpoint)
    args = _arguments(checkpoint)
    if "arch" not in args:
        raise ValueError(f"{path} does not say its architecture, in 'args' or in 'cfg' under 'model'")
    config = {"kind": kind_of(str(args["arch"])), "ctor": {"args": args}}
    try:
        return model_from_reference(config, state)
    except ValidationError as error:
        raise ValueError(f"{path}: {one_line(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _state(path: str | Path, checkpoint: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    state = checkpoint.get("model")
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and name.isprintable() and isinstance(x, torch.Tensor)
        for name, x in state.items()
    ):
        raise ValueError(f"{path} holds no state dict under 'model'; it is not a checkpoint of fairseq")
    for name, x in state.items():
        plain = x.layout == torch.strided and x.device.type == "cpu" and not x.is_quantized
        if not plain or x.numel() * x.element_size() > x.untyped_storage().nbytes():
            raise ValueError(
                f"{path}: {name!r} is not a plain tensor that holds all its values; save it densely"
            )
    return state


def _arguments(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    args = checkpoint.get("args")
    if args is None:
        cfg = checkpoint.get("cfg") or {}
        args = cfg.get("model") if isinstance(cfg, Mapping) else None
    return dict(args) if isinstance(args, Mapping) else dict(vars(args)) if args is not None else {}


def _read(path: Path) -> Mapping[str, Any]:
    check_regular(path)
    try:
        _check_stored(path)
        with torch.serialization.safe_globals([argparse.Namespace, *_numpy_numbers()]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        problem = f"asks for {asked[1]}, which could run code" if asked else "is damaged"
        raise ValueError(f"{path} {problem}; save its 'args' and 'model' alone where it was made") from error
    except Exception as error:  # a damaged file makes torch raise almost anything
        raise ValueError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}); copy it again"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint of fairseq")
    return checkpoint


def _check_stored(path: Path) -> None:
    """Raise ValueError if a part of the file would take more memory than the file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise ValueError("it is compressed")


def _numpy_numbers() -> list[Any]:
    """The globals that numpy's numbers are pickled with: losses and timers in the training's state."""
    scalar = type(np.float64(0)).__reduce__(np.float64(0))[0]
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    names = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, *(type(np.dtype(kind)) for kind in kinds)]
