"""Presets by name: `{preset: seqboat, d_model: 128, ...}` in place of a model's spec."""

import inspect
from collections.abc import Callable
from functools import cache, reduce
from operator import or_
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, Field, ValidationError, create_model

from sma import OneOf, Spec
from sma.architectures.models.base import ModelSpec
from sma.architectures.presets.graph import graph_network
from sma.architectures.presets.mega import gau_always, mega, mega_chunk, seqboat_full, ssm_only
from sma.architectures.presets.mixtures import mixtral_like, mixture_of_depths, moe_seqboat, sma_all, switch
from sma.architectures.presets.seqboat import seqboat
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
from sma.architectures.specs.fields import WHOLE, Dropout, Finite, Size
from sma.checks import near
from sma.spec.bounds import MAX_BLOCKS
from sma.spec.errors import plain, whole

_NARROWER = {"n_layers": Annotated[int, Field(ge=1, le=MAX_BLOCKS), WHOLE], "dropout": Dropout}
"""Options of presets that have bounds of their own."""

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
        ['capacity_factor', 'd_input', 'd_model']
    """
    known = model_presets()
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"there is no preset {name!r}{near(str(name), known)}")
    hints = get_type_hints(known[name])
    options: dict[str, Any] = {}
    for parameter in inspect.signature(known[name]).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            for group in get_args(parameter.annotation):
                options |= get_type_hints(group)
        else:
            options[parameter.name] = hints[parameter.name]
    return options


def starting_sizes(name: str) -> dict[str, int]:
    """Sizes to begin with, for a preset that cannot do without; none for one that can."""
    required = inspect.signature(model_presets()[name]).parameters.get("d_model")
    if required is None or required.default is not required.empty:
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
    function = model_presets()[preset]
    parameters = inspect.signature(function).parameters.values()
    missing = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    missing = [name for name in missing if name not in options]
    if missing:
        raise ValueError(f"preset {preset} needs {' and '.join(missing)}; set them")
    options_type = _options_type(preset)
    try:
        checked = options_type.model_validate(options)
    except ValidationError as error:
        raise plain(options_type, error) from None
    try:
        return function(**{name: getattr(checked, name) for name in options})
    except ValidationError as error:
        said = [(".".join(map(str, detail["loc"])), detail["msg"]) for detail in error.errors()]
        lines = "; ".join(f"{path}: {message}" if path else message for path, message in said)
        raise whole(ModelSpec, f"preset {preset}: {lines}") from None
    except ValueError as error:
        raise whole(ModelSpec, f"preset {preset}: {error}") from None


@cache
def _options_type(preset: str) -> type[BaseModel]:
    """What checks a preset's options before arithmetic is done with them."""
    types = {name: _checked(hint) for name, hint in preset_options(preset).items()}
    types |= {name: narrower for name, narrower in _NARROWER.items() if name in types}
    return create_model(preset, **{name: (hint, None) for name, hint in types.items()})  # type: ignore[call-overload]


def _checked(hint: Any) -> Any:
    """The type that a value in YAML must have for an argument with this annotation."""
    if hint in (int, float):
        return Size if hint is int else Finite
    arms = get_args(hint) or (hint,)
    families = [arm for arm in arms if inspect.isclass(arm) and issubclass(arm, Spec)]
    if families:  # a kind's name or a mapping, as in any spec
        checked: Any = OneOf[families[0]]  # type: ignore[misc, valid-type]
        return checked | None if NoneType in arms else checked
    return reduce(or_, map(_checked, arms)) if len(arms) > 1 and NoneType in arms else hint
