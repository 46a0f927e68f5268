"""The models that a comparison trains, read from what names them: files, presets, specs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sma import Spec
from sma.architectures.files.yaml import parse_spec, read_yaml
from sma.architectures.models.base import ModelSpec
from sma.architectures.presets.by_name import expand_preset, model_presets, preset_options
from sma.checks import near
from sma.training.comparison.parts import dumped, first_value
from sma.training.config import TrainSpec
from sma.training.presets import run_names, run_values
from sma.training.run.errors import explain
from sma.training.settings.overrides import Assignment, apply_overrides, parse_assignment

READY = "ready"
"""Names the model of the task's ready run."""
BORROWED = ("d_state", "d_qk", "d_hidden", "window")
"""Options that a preset takes from the ready run, where it has them and they are not given."""
Source = str | Path | Spec | Mapping[str, Any]
"""A file, `preset:NAME,option=value`, `ready`, or a spec of a model or a run."""

_NAMED = re.compile(r"(?P<name>[\w.+-]+)=(?P<target>.+)", re.DOTALL)
_NAME = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Entrant:
    """A model of a comparison.

    Attributes:
        name: unique; also begins the names of its runs' folders.
        source: what the user named.
        fields: of its `TrainSpec`, but for the budget and the seed.
        control: which control it is, or None for a model that the user named.
        of: the name of the model that it is a control of.
    """

    name: str
    source: str
    fields: dict[str, Any]
    control: str | None = None
    of: str | None = None

    def spec(self, **changes: Any) -> TrainSpec:
        """Its run, some fields changed."""
        return TrainSpec.model_validate({**self.fields, **changes})


def read_entrants(
    sources: Sequence[Source] | Mapping[str, Source], task: str | None, settings: Sequence[str]
) -> list[Entrant]:
    """The models that were named, each with the fields of its run.

    Args:
        sources: what names them, in order; a mapping gives them names, as `NAME=SOURCE` does.
        task: the kind of the task; None for that of the first file that holds a run, or python_source.
        settings: `FIELD=VALUE` for all of them, `NAME:FIELD=VALUE` for one.

    Raises:
        ValueError: if one cannot be read, or they would not see the same data.
    """
    named = _named(sources)
    values = {name: _read(source) for name, source in named}
    task = task or next((_kind(read["task"]) for read in values.values() if "task" in read), "python_source")
    common, own = _settings(settings, list(values))
    entrants = []
    for name, source in named:
        fields = _fields(name, values[name], task, [*common, *own.get(name, [])])
        entrants.append(Entrant(name, str(source) if isinstance(source, str | Path) else "given", fields))
    for entrant in entrants[1:]:
        _check_same_data(entrants[0], entrant)
    return entrants


def _named(sources: Sequence[Source] | Mapping[str, Source]) -> list[tuple[str, Source]]:
    if isinstance(sources, Mapping):
        pairs = list(sources.items())
    else:
        pairs = [_name_of(source) for source in sources]
    if not pairs:
        raise ValueError("a comparison needs at least one spec; name a file, preset:NAME, or ready")
    taken: dict[str, int] = {}
    unique = []
    for name, source in pairs:
        taken[name] = taken.get(name, 0) + 1
        unique.append((name if taken[name] == 1 else f"{name}-{taken[name]}", source))
    return unique


def _name_of(source: Source) -> tuple[str, Source]:
    if not isinstance(source, str | Path):
        return "model", source
    text = str(source)
    if isinstance(source, str) and (match := _NAMED.fullmatch(text)) and not Path(text).is_file():
        return match["name"], match["target"]
    if text.startswith("preset:"):
        return _NAME.sub("-", text.removeprefix("preset:")), text
    return _NAME.sub("-", Path(text).stem), text


def _read(source: Source) -> dict[str, Any]:
    """The fields that a source holds: of a run where there is a task, else of a model."""
    if isinstance(source, Spec):
        return dumped(source)
    if isinstance(source, Mapping):
        return dict(source)
    text = str(source)
    if text == READY:
        return {}
    if text.startswith("preset:"):
        name, *options = text.removeprefix("preset:").split(",")
        preset_options(name)
        return {"preset": name, **dict(map(_option, options))}
    path = Path(text) / "spec.yaml" if Path(text).is_dir() else Path(text)
    if not path.is_file():
        known = [READY, *(f"preset:{name}" for name in model_presets())]
        raise ValueError(f"spec {text!r} is not a file, a run's folder or a known name{near(text, known)}")
    return read_yaml(path)


def _option(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise ValueError(f"preset option {text!r} has no value; write option=value, such as d_model=64")
    return name.strip(), yaml.safe_load(value)


def _settings(
    settings: Sequence[str], names: Sequence[str]
) -> tuple[list[Assignment], dict[str, list[Assignment]]]:
    common: list[Assignment] = []
    own: dict[str, list[Assignment]] = {}
    for text in settings:
        name, sign, _ = text.partition("=")[0].partition(":")
        if not sign:
            common.append(parse_assignment(text))
            continue
        if name not in names:
            raise ValueError(f"--set {text}: there is no model {name!r}{near(name, names)}")
        own.setdefault(name, []).append(parse_assignment(text.removeprefix(f"{name}:")))
    return common, own


def _fields(name: str, values: dict[str, Any], task: str, assignments: list[Assignment]) -> dict[str, Any]:
    try:
        run = _run(values, task)
        return dumped(TrainSpec.model_validate(apply_overrides(run, assignments)))
    except ValueError as error:
        explained = explain(error)
        raise ValueError(f"{name}: {explained[0] if explained else error}") from error


def _run(values: dict[str, Any], task: str) -> dict[str, Any]:
    """The fields of a run: of its own file, or the task's ready run around a model."""
    if "task" in values:
        if _kind(values["task"]) != task:
            raise ValueError(
                f"task.kind={_kind(values['task'])} is not the comparison's {task}; set --task, or leave the "
                "task out of the file"
            )
        return values
    if task not in run_names():
        raise ValueError(
            f"task={task} has no ready run{near(task, run_names())}, whose recipe a model would need; give "
            "files that hold whole runs"
        )
    ready = run_values(task)
    return {**ready, **({"model": _model(values, ready)} if values else {})}


def _model(values: dict[str, Any], ready: dict[str, Any]) -> dict[str, Any]:
    """The fields of a model; of a preset, with the sizes and the ends of the ready run."""
    if "preset" not in values:
        return values
    like = dumped(parse_spec(ready["model"]))
    known = preset_options(values["preset"])
    sizes = {option: value for option, value in _sizes(like).items() if option in known}
    if "embedding" in known or "vocab_size" in values or "d_input" in values:
        sizes = {option: value for option, value in sizes.items() if option not in ("vocab_size", "d_input")}
    spec = expand_preset({**sizes, **values})
    assert isinstance(spec, ModelSpec)
    ends = {"embedding": like["embedding"], "head": like["head"]} if spec.kind == like["kind"] else {}
    given = {end for end in ("vocab_size", "d_input", "n_classes", "embedding") if end in values}
    return dumped(spec) if given else {**dumped(spec), **ends}


def _sizes(like: dict[str, Any]) -> dict[str, Any]:
    blocks, embedding, head = like["blocks"], like["embedding"], like["head"]
    found = {
        "d_model": like["d_model"],
        "n_layers": sum(block["repeat"] for block in blocks),
        "vocab_size": embedding.get("vocab_size"),
        "d_input": embedding.get("d_input") if "vocab_size" not in embedding else None,
        "n_classes": head.get("n_classes"),
        "embedding": embedding,
        "norm": blocks[0].get("norm"),
        **{option: first_value(blocks, option) for option in BORROWED},
    }
    return {name: value for name, value in found.items() if value is not None}


def _kind(task: Any) -> str:
    return task if isinstance(task, str) else str(task["kind"])


def _check_same_data(first: Entrant, other: Entrant) -> None:
    """See that two models draw the same batches in the same order."""
    for field in ("task", "batch_size", "accumulation"):
        there, here = first.fields[field], other.fields[field]
        if there != here:
            raise ValueError(
                f"{other.name}: {field}={here!r} is not that of {first.name} ({there!r}), so that they "
                f"would not see the same data; set the same by --set {field}=..."
            )
