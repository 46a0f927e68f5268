"""Models' specs in YAML and JSON."""

import json
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from sma import Spec
from sma.architectures.files.reading import read_whole
from sma.architectures.models.base import ModelSpec
from sma.architectures.presets.by_name import expand_preset
from sma.spec.bounds import MAX_FIELDS, MAX_JSON_BYTES, MAX_YAML_BYTES
from sma.spec.errors import whole
from sma.spec.registry import find


def load_spec(path: str | Path) -> ModelSpec:
    """Read a model's spec, or a preset with its options, from a YAML or JSON file.

    Raises:
        ValueError: if the file is not YAML or JSON, or holds no model spec; pydantic's ValidationError, which
            names every wrong field, is one.
        FileNotFoundError: if there is no such file.
    """
    return parse_spec(read_yaml(path))


def parse_spec(values: Any) -> ModelSpec:
    """The model spec in a mapping, as YAML and JSON give it: with a `kind`, or a `preset` and its options.

    Raises:
        ValueError: see `load_spec`.

    Example:
        >>> parse_spec({"preset": "seqboat", "d_model": 16, "n_layers": 2, "vocab_size": 9}).d_model
        16
    """
    if not isinstance(values, dict):
        raise ValueError(f"a spec is a mapping with a `kind`, got {type(values).__name__}")
    if "preset" in values:
        spec: ModelSpec = expand_preset(values)
        return spec
    kind = values.get("kind", "sequence_model")
    if not isinstance(kind, str):
        raise whole(ModelSpec, "must be the name of a kind, such as sequence_model", ("kind",), kind)
    try:
        found: type[ModelSpec] = find(ModelSpec, kind)  # type: ignore[type-abstract]
    except ValueError as error:
        raise whole(ModelSpec, str(error), ("kind",), kind) from None
    return found.model_validate(values)


def dump_spec(spec: Spec) -> str:
    """A spec as YAML, every field written out."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        ValueError: if it cannot be read, is too large, or holds something else.
        FileNotFoundError: if there is no such file.
    """
    is_json = Path(path).suffix == ".json"  # read faster than as YAML
    content = read_whole(path, limit=MAX_JSON_BYTES if is_json else MAX_YAML_BYTES)
    try:
        text = content.decode()
        values = json.loads(text, object_pairs_hook=_once) if is_json else yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError(f"{path} is nested too deep to read; write a flatter one") from None
    except (yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError) as error:
        # the last three: PyYAML on a tag whose text is of another kind, such as `!!bool maybe`
        raise ValueError(f"{path} is not valid YAML or JSON: {_problem(error)}") from error
    if not isinstance(values, dict):
        held = "nothing" if values is None else type(values).__name__
        raise ValueError(f"{path} holds {held} instead of a mapping of fields")
    return values


def _problem(error: Exception) -> str:
    """The mistake and its place, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        said = ", ".join(part for part in (error.context, error.problem) if part)
        return f"{said}, line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    return " ".join(str(error).split())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"the field {name!r} is given twice")
        values[name] = value
    return values


class _Loader(yaml.SafeLoader):
    """Reads plain values only, and refuses a field that is given twice."""

    @override
    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    remedy = "; merge several by `<<: [*a, *b]`" if key.value == "<<" else ""
                    message = f"the field {key.value!r} is given twice{remedy}"
                    raise yaml.composer.ComposerError(None, None, message, key.start_mark)
                seen.add(key.value)
        return node

    @override
    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_FIELDS:  # merges of merges
            message = f"more than {MAX_FIELDS:,} fields are merged into one mapping"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
