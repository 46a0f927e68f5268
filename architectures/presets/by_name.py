"""Presets by name: `{preset: seqboat, d_model: 128, ...}` in place of a model's spec."""

from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from sma.architectures.models.base import ModelSpec
from sma.architectures.presets.graph import graph_network
from sma.architectures.presets.mega import mega, mega_chunk
from sma.architectures.presets.mixtures import mixtral_like, mixture_of_depths, moe_seqboat, sma_all, switch
from sma.architectures.presets.preset import Preset, options_type, own_options
from sma.architectures.presets.seqboat import gau_always, seqboat, seqboat_full, ssm_only
from sma.architectures.presets.seqboat_published import (
    seqboat_enwik8,
    seqboat_lra_image,
    seqboat_lra_listops,
    seqboat_lra_path_x,
    seqboat_lra_pathfinder,
    seqboat_lra_retrieval,
    seqboat_lra_text,
    seqboat_speech_commands,
)
from sma.architectures.presets.transformer import local_attention, transformer
from sma.checks import near
from sma.spec.errors import plain, whole

_PRESETS: tuple[Callable[..., ModelSpec], ...] = (
    gau_always,
    graph_network,
    local_attention,
    mega,
    mega_chunk,
    mixtral_like,
    mixture_of_depths,
    moe_seqboat,
    seqboat,
    seqboat_enwik8,
    seqboat_full,
    seqboat_lra_image,
    seqboat_lra_listops,
    seqboat_lra_path_x,
    seqboat_lra_pathfinder,
    seqboat_lra_retrieval,
    seqboat_lra_text,
    seqboat_speech_commands,
    sma_all,
    ssm_only,
    switch,
    transformer,
)


def model_presets() -> dict[str, Callable[..., ModelSpec]]:
    """The functions that make a model's spec from options, by name."""
    return {function.__name__: function for function in _PRESETS}


def preset_options(name: Any) -> dict[str, Any]:
    """A preset's arguments and their types.

    Raises:
        ValueError: if there is no such preset.

    Example:
        >>> sorted(preset_options("switch"))[:3]
        ['bidirectional', 'capacity_factor', 'd_input']
    """
    known = model_presets()
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"there is no preset {name!r}{near(str(name), known)}")
    return {option: field.annotation for option, field in _options_type(name).model_fields.items()}


def starting_sizes(name: str) -> dict[str, int]:
    """Sizes to begin with, for a preset that cannot do without; none for one that can."""
    required = _options_type(name).model_fields.get("d_model")
    if required is None or not required.is_required():
        return {}
    ends = {"vocab_size": 256} if "vocab_size" in preset_options(name) else {"d_input": 256, "n_classes": 256}
    return {"d_model": 128, "n_layers": 4, **ends}


def expand_preset(value: Any) -> Any:
    """A mapping `{preset: NAME, ...}` as the spec that the preset gives; anything else as it is.

    Raises:
        ValueError: if there is no such preset or option, or one is missing.
        pydantic.ValidationError: if the values do not do; it names the options.
    """
    if not (isinstance(value, dict) and "preset" in value):
        return value
    preset = value["preset"]
    types = preset_options(preset)
    if "kind" in value:
        raise ValueError(f"preset {preset} says what is built; leave out `kind`")
    options = {name: option for name, option in value.items() if name != "preset"}
    for name in options:
        if name not in types:
            raise ValueError(f"preset {preset} has no option {name!r}{near(str(name), types)}")
    checks = _options_type(preset)
    required = [name for name, field in checks.model_fields.items() if field.is_required()]
    missing = [name for name in required if name not in options]
    if missing:
        raise ValueError(f"preset {preset} needs {' and '.join(missing)}; set them")
    try:
        checked = checks.model_validate(options)
    except ValidationError as error:
        raise plain(checks, error) from None
    try:
        return model_presets()[preset](**{name: getattr(checked, name) for name in options})
    except ValidationError as error:
        said = [(".".join(map(str, detail["loc"])), detail["msg"]) for detail in error.errors()]
        lines = "; ".join(f"{path}: {message}" if path else message for path, message in said)
        raise whole(ModelSpec, f"preset {preset}: {lines}") from None
    except ValueError as error:
        raise whole(ModelSpec, f"preset {preset}: {error}") from None


@cache
def _options_type(preset: str) -> type[BaseModel]:
    """The type that checks a preset's options before arithmetic is done with them."""
    function = model_presets()[preset]
    return function.options if isinstance(function, Preset) else options_type(preset, own_options(function))
