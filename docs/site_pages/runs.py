"""The presets of models and the published runs as Markdown."""

from typing import Any

import yaml

from site_pages.kinds import anchor, default_of, in_words, meanings, row
from site_pages.markdown import first_paragraph, linked
from sma.architectures.presets.by_name import model_presets, starting_sizes
from sma.architectures.presets.preset import Preset, options_type, own_options
from sma.spec.registry import find
from sma.training.recipes import recipe, recipe_names, recipe_tasks
from sma.training.tasks import TaskSpec


def presets() -> str:
    """Every preset with its options."""
    return "\n\n".join(_preset(name, function) for name, function in sorted(model_presets().items()))


def _preset(name: str, function: Any) -> str:
    options = function.options if isinstance(function, Preset) else options_type(name, own_options(function))
    known = _meanings(function)
    schema = options.model_json_schema()
    rows = [
        row(
            option,
            in_words(schema["properties"][option], schema.get("$defs", {})),
            default_of(field),
            known.get(option, ""),
        )
        for option, field in options.model_fields.items()
    ]
    about = linked(first_paragraph(function))
    example = yaml.safe_dump(
        {"preset": name, **starting_sizes(name)}, sort_keys=False, default_flow_style=True
    )
    table = ["| option | takes | default | meaning |", "| --- | --- | --- | --- |", *rows]
    return "\n\n".join(
        [f"(preset-{name})=", f"### {name}", about, "\n".join(table), f"```yaml\n{example}```"]
    )


def _meanings(function: Any) -> dict[str, str]:
    if not isinstance(function, Preset):
        return meanings(function)
    shared = meanings(Preset.__call__)
    borrowed: dict[str, str] = {}
    for spec, names in function._borrowed.items():
        borrowed |= dict.fromkeys(names.split(), f"see `{spec.model_fields['kind'].default}`")
    return borrowed | shared | meanings(function)


def recipes() -> str:
    """Every published run, with its values."""
    return "\n\n".join(map(_recipe, recipe_names()))


def _recipe(name: str) -> str:
    spec = recipe(name, task=_needed(name))
    values = spec.model_dump(
        mode="json", include={"steps", "batch_size", "accumulation", "learning_rate", "clip"}
    )
    facts = ", ".join(f"{field.replace('_', ' ')} {value:,}" for field, value in values.items())
    tasks = ", ".join(f"[`{kind}`](#{anchor(find(TaskSpec, kind))})" for kind in recipe_tasks(name))
    start = f"sma train --recipe {name}"
    return (
        f"### {name}\n\nModel: the preset [`{name}`](#preset-{name}). Tasks: {tasks}. {facts}.\n\n"
        f"```text\n{start}\n```"
    )


def _needed(name: str) -> dict[str, Any]:
    """A task's required fields, with values that are not read."""
    kind = recipe_tasks(name)[0]
    return {"kind": kind, "folder": "data"}
