"""Commands on specs: their JSON Schema, a preset as YAML, and what differs between two."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from sma.architectures import dump_spec
from sma.architectures.models.base import ModelSpec
from sma.architectures.presets.by_name import model_presets
from sma.checks import near
from sma.spec.schema import json_schema
from sma.training.cli.commands import preset_spec, spec_of
from sma.training.cli.overrides import apply_overrides, parse_assignment
from sma.training.config import TrainSpec
from sma.training.presets import run_names, run_values

ABSENT = "-"


def schema(of: str) -> dict[str, Any]:
    """The JSON Schema of `model` or `training` files, with every kind that is installed."""
    result = json_schema(ModelSpec if of == "model" else TrainSpec)
    preset = {
        "type": "object",
        "required": ["preset"],
        "properties": {"preset": {"enum": sorted(model_presets())}},
    }
    result["$defs"]["ModelSpec"]["anyOf"].append(preset)
    if of == "training":
        result["$defs"]["TrainSpec"]["required"].remove("kind")
    return result


def init(preset: str, changes: list[str]) -> str:
    """A model's or a run's preset as YAML with every field written out; `changes` set options or fields.

    Raises:
        ValueError: if there is no such preset, or nothing that a change could set.
    """
    if preset in run_names():
        assignments = [parse_assignment(change) for change in changes]
        run = TrainSpec.model_validate(apply_overrides(run_values(preset), assignments))
        return yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False)
    if preset not in model_presets():
        raise ValueError(f"there is no preset {preset!r}{near(preset, [*run_names(), *model_presets()])}")
    return dump_spec(preset_spec(preset, changes))


def differences(first: Any, second: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two nested values differ: dotted path, first value, second value; `ABSENT` for none.

    Example:
        >>> list(differences({"a": [1, 2]}, {"a": [1, 3], "b": 0}))
        [('a.1', 2, 3), ('b', '-', 0)]
    """
    if isinstance(first, list) and isinstance(second, list):
        first, second = dict(enumerate(first)), dict(enumerate(second))
    if not (isinstance(first, dict) and isinstance(second, dict)):
        if first != second:
            yield path, first, second
        return
    for key in [*first, *(key for key in second if key not in first)]:
        place = f"{path}.{key}" if path else str(key)
        yield from differences(first.get(key, ABSENT), second.get(key, ABSENT), place)


def diff(first: str, second: str) -> bool:
    """Print where the models of two specs, runs or presets differ; True if they do."""
    left, right = (spec_of(target, []).model_dump(mode="json") for target in (first, second))
    table = Table("field", first, second)
    for row in differences(left, right):
        table.add_row(*map(_short, row))
    console = Console()
    console.print(table if table.row_count else "the same model")
    return table.row_count > 0


def write(text: str, out: Path | None) -> None:
    """Print a text, or write it to a new file.

    Raises:
        ValueError: if the file exists.
    """
    if out is None:
        print(text, end="")
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ValueError(f"{out} exists already; name a new file, or remove it") from None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
