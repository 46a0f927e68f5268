"""The specs that arguments of the command name: files, runs, folders of models, presets."""

from pathlib import Path
from typing import Any

from sma.architectures.files.yaml import parse_spec, read_yaml
from sma.architectures.models.base import ModelSpec
from sma.architectures.presets.by_name import model_presets, preset_options, starting_sizes
from sma.checks import near
from sma.spec.schema import json_schema
from sma.training.config import TrainSpec
from sma.training.presets import run_names, run_values
from sma.training.recipes import check_recipe, recipe_values, task_values
from sma.training.run.folder import Run
from sma.training.settings.overrides import Assignment, apply_overrides, parse_assignment


def run_spec(
    path: Path | None, task: str | None, assignments: list[Assignment], recipe: str | None = None
) -> TrainSpec:
    """The spec of a new run: a file's, the ready run of a task, a published one, or one around a model.

    Raises:
        ValueError: if both a file and a recipe are named, or a recipe's task is of another form.
    """
    if recipe is not None:
        if path is not None:
            raise ValueError("--spec and --recipe both say what is trained; leave out one of them")
        return recipe_spec(recipe, task, assignments)
    values = read_yaml(path) if path is not None else {}
    if "preset" in values or values.get("kind", "training") != "training":  # a model
        values = {**run_values(task or "python_source"), "model": values}
    elif path is None:
        values = run_values(task or "python_source")
    return TrainSpec.model_validate(apply_overrides(values, assignments))


def recipe_spec(name: str, task: str | None, assignments: list[Assignment]) -> TrainSpec:
    """A published run, on its own task or one of another kind, with some fields set.

    Raises:
        ValueError: if there is no such run, or the task is of another form.
    """
    values = {**recipe_values(name), "task": task_values(name, task)}
    return check_recipe(name, TrainSpec.model_validate(apply_overrides(values, assignments)))


def model_spec(target: str, changes: list[str]) -> ModelSpec:
    """The spec of a model that a YAML or JSON file, a run, a model's folder or a preset holds.

    Raises:
        ValueError: if `target` is not one of these, or there is nothing that a change could set.
    """
    path = Path(target)
    target = target.removeprefix("preset:")  # as `sma compare` takes it
    if (path / "spec.yaml").is_file():
        values = read_yaml(path / "spec.yaml")
    elif (path / "spec.json").is_file():
        values = read_yaml(path / "spec.json")
    elif path.is_file():
        values = read_yaml(path)
    elif target in run_names():
        values = run_values(target)
    elif target in model_presets():
        return _model_preset(target, changes)
    elif path.is_dir():
        raise ValueError(f"{target} is a folder without spec.yaml or spec.json; name a run's or a model's")
    else:
        known = [*run_names(), *model_presets()]
        raise ValueError(f"{target!r} is not a file, a run's folder or a preset{near(target, known)}")
    return _changed(values, changes)


def preset_spec(preset: str, changes: list[str]) -> ModelSpec | TrainSpec:
    """The spec of a model's or a run's preset; `changes` set options or fields.

    Raises:
        ValueError: if there is no such preset, or nothing that a change could set.
    """
    if preset in run_names():
        return TrainSpec.model_validate(
            apply_overrides(run_values(preset), list(map(parse_assignment, changes)))
        )
    if preset not in model_presets():
        raise ValueError(f"there is no preset {preset!r}{near(preset, [*run_names(), *model_presets()])}")
    return _model_preset(preset, changes)


def spec_schema(of: str) -> dict[str, Any]:
    """The JSON Schema of `model` or `training` files: every installed kind, every preset with its options."""
    schema = json_schema(ModelSpec if of == "model" else TrainSpec)
    schema["$defs"]["ModelSpec"]["anyOf"] += [
        {
            "type": "object",
            "required": ["preset"],
            "properties": {"preset": {"const": preset}, **{option: {} for option in preset_options(preset)}},
            "additionalProperties": False,
        }
        for preset in sorted(model_presets())
    ]
    if of == "training":
        schema["$defs"]["TrainSpec"]["required"].remove("kind")
    return schema


def measured_rates(path: Path) -> dict[str, list[float]]:
    """The activation rates that a run's test found; none if `path` is not a run that was tested."""
    found = Run(path).results() if path.is_dir() else None
    return found.test.activation_rates if found is not None else {}


def _model_preset(preset: str, changes: list[str]) -> ModelSpec:
    """The spec of a model's preset, with sizes to begin with."""
    sizes = starting_sizes(preset)
    if any(path in {("d_input",), ("model", "d_input")} for path, _ in map(parse_assignment, changes)):
        sizes.pop("vocab_size", None)
    return _changed({"preset": preset, **sizes}, changes)


def _changed(values: dict[str, Any], changes: list[str]) -> ModelSpec:
    """The spec of a model, or of a run's, with some fields set."""
    model = values.get("model", values)
    wrapped = {"model": model, "task": "digits"}  # the task plays no part
    assignments = [parse_assignment(change) for change in changes]
    if "model" not in values:
        assignments = [(key if key[0] == "model" else ("model", *key), value) for key, value in assignments]
    return parse_spec(apply_overrides(wrapped, assignments)["model"])
