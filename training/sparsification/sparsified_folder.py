"""The folder that `sma sparsify` writes: what is in it, how it was made, and its model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sma.architectures.files.reading import read_whole
from sma.training.run.errors import RunError

REPORT = "report.json"
MODEL_FOLDER = "model"
_LARGEST = 2**28


@dataclass(frozen=True)
class Origin:
    """How the model of a folder was made sparse.

    Attributes:
        model: the name of the dense one.
        data: the files.
        data_hash: of their rows, see `TokenTexts.hash`.
        length: tokens of a row at most.
        spec: the fields of the `SparsifySpec`.
    """

    model: str
    data: list[Path]
    data_hash: str
    length: int
    spec: dict[str, Any]


def is_sparsified(path: Path) -> bool:
    """Whether a folder is one that `sma sparsify` wrote."""
    return (path / REPORT).is_file() and (path / MODEL_FOLDER / "config.json").is_file()


def read_origin(path: Path) -> Origin:
    """How the model of a folder was made sparse, by its report.

    Raises:
        RunError: if the report is damaged.
    """
    values = read_values(path)
    try:
        data = [Path(name) for name in values["data"]]
        return Origin(values["model"], data, values["data_hash"], values["length"], dict(values["spec"]))
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from error


def read_values(path: Path) -> dict[str, Any]:
    """The fields of a folder's report.json.

    Raises:
        RunError: if it is not a JSON object.
    """
    try:
        return dict(json.loads(read_whole(path / REPORT, limit=_LARGEST)))
    except (ValueError, TypeError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> RunError:
    """What is said of a folder whose report cannot be read."""
    return RunError(
        f"{path / REPORT} is damaged ({type(error).__name__}: {error}); restore it from a copy, or remove "
        "the folder and run sma sparsify again"
    )


def load_sparsified(path: Path) -> tuple[Any, Any]:
    """The model of a folder, of its own class, in float32 and evaluation mode; and its tokenizer."""
    import torch
    import transformers

    from sma.transformers.sparsification.auto_classes import auto_class_name

    folder = path / MODEL_FOLDER
    config: Any = transformers.AutoConfig.from_pretrained(folder)
    auto = getattr(transformers, auto_class_name(config.base))
    model = auto.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)
