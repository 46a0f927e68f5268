"""Sparsified models of transformers: the call that knows its padding, loading, and copies."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial, wraps
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from sma.recomputation import recompute
from sma.recording import naming
from sma.transformers.sparsification.attention_functions import PREFIX, sparse_implementation
from sma.transformers.sparsification.auto_classes import auto_class_name, auto_classes
from sma.transformers.sparsification.routed_layer import routed_parts
from sma.transformers.sparsification.run_time_classes import reduced
from sma.transformers.sparsification.selection import Reading, call_of, current_reading, reading
from sma.transformers.sparsification.sparsified_config import (
    FIELD,
    SparsifiedConfig,
    config_with_spec,
    mark_config,
)
from sma.transformers.sparsification.sparsify_spec import SparsifySpec
from sma.transformers.sparsification.wrap import as_spec, wrap_parts
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _get_model_class


def sparsify(model: Any, spec: SparsifySpec | Mapping[str, Any] | None = None, **fields: Any) -> Any:
    """Let the tokens of a pretrained model skip parts of it; in place.

    At first nothing is skipped: every router is active with confidence 1, and the outputs are those of the
    model before. In training (`sma.training.sparsification.distill`, or any loop that adds
    `record(model).losses` to its loss and calls `set_progress`), the budget moves from 1 to its rate.

    Args:
        model: as transformers' `from_pretrained` returns it.
        spec: what is routed, as a `SparsifySpec` or as a mapping. None: the fields are given.
        fields: of a `SparsifySpec`.

    Returns:
        The same model, which is of its class still. `save_pretrained` writes a folder that the Auto classes,
        and the class of the result, load as a sparsified model, where `sma.transformers` is imported; the
        dense class refuses it.

    Raises:
        ValueError: if the model or a part cannot be routed. The model is then what it was.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        ...     num_attention_heads=2, num_key_value_heads=2)
        >>> model = sparsify(LlamaForCausalLM(config), parts=("feed_forward", "attention"), rate=0.5)
        >>> type(model).__name__, model.config.sparsify["rate"]
        ('LlamaForCausalLM', 0.5)
    """
    read = as_spec(spec, fields)
    with _own_config(model):
        wrap_parts(model, read, probed=True)
    _mark(model, read)
    return model


class Sparsified:
    """What a sparsified model adds to its class; `sparsified_class` mixes it in."""

    config: Any
    loaded_by: str = ""
    """The Auto class that loads the folder that the model is from; empty: it is not from a sparsified one."""

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a folder or a repository, as transformers does.

        Raises:
            ValueError: if it says that it is sparsified, but has the weights of a dense model.
        """
        wanted = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(name, *args, output_loading_info=True, **kwargs)  # type: ignore[misc]
        parts = tuple(f"{part}." for part in routed_parts(model))
        missing = sorted(key for key in info["missing_keys"] if key.startswith(parts))
        if missing:
            raise ValueError(
                f"{name} is of a sparsified model, but has no {missing[0]} of {cls.__name__}; load it by the "
                "Auto class of what was saved; or, if a dense model was saved that shares its configuration "
                "with a sparsified one, save it with a configuration of its own"
            )
        if getattr(model.config, FIELD, None) is not None:
            model.loaded_by = auto_class_name(model.config, cls.__name__)
        return (model, info) if wanted else model

    @property
    def sparsify_call(self) -> str:
        """The call, as Python, that makes a dense `model` such a one; empty: it is dense."""
        values = getattr(self.config, FIELD, None)
        if values is None:
            return ""
        given = SparsifySpec.model_validate(values).model_dump(mode="json", exclude_defaults=True)
        fields = (f"{name}={value!r}" for name, value in given.items())
        return f"sma.sparsify({', '.join(['model', *fields])})"

    @override
    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduced(sparsified_class, self)

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Any = checkpoint, every_n_layers: int = 1
    ) -> None:
        """Let layers be recomputed by `sma.recompute`, which replays routing, with their call's padding."""
        if enable and getattr(gradient_checkpointing_func, "keywords", {}).get("use_reentrant"):
            raise ValueError(
                "use_reentrant=True: layers are recomputed by sma.recompute, which replays the routing and "
                "has no such option; leave it out"
            )
        super()._set_gradient_checkpointing(enable, _recomputed, every_n_layers)  # type: ignore[misc]

    def set_attn_implementation(self, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
        """Choose the function that routed attention computes its queries with, `sdpa` or `eager`."""
        if (self.config._attn_implementation or "").startswith(PREFIX):
            attn_implementation = sparse_implementation(attn_implementation)
        super().set_attn_implementation(attn_implementation, *args, **kwargs)  # type: ignore[misc]


@cache
def sparsified_class(base: Any) -> Any:
    """The class of a sparsified model. It has the name of the model's own class, by which it is known."""

    class Model(Sparsified, base):
        def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
            base.__init__(self, config, *args, **kwargs)
            values = getattr(config, FIELD, None)
            if values is not None:
                spec = SparsifySpec.model_validate(values)
                wrap_parts(self, spec, probed=False)
                _mark(self, spec)

        @wraps(base.forward)
        def forward(self, *args: Any, token_mask: Tensor | None = None, **kwargs: Any) -> Any:
            call = call_of(token_mask, base.forward, self, *args, **kwargs)
            with naming(self), reading(call):
                return base.forward(self, *args, **kwargs)

    if hasattr(base, "prepare_inputs_for_generation"):
        Model.prepare_inputs_for_generation = _with_token_mask(base.prepare_inputs_for_generation)
    Model.__name__, Model.__qualname__ = base.__name__, base.__qualname__
    Model.__module__, Model.__doc__ = base.__module__, base.__doc__
    if base.config_class is not None:
        Model.config_class = config_with_spec(base.config_class)
    return Model


def _with_token_mask(prepare: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The inputs of a step of `generate` with its mask `(B, L)`, which is replaced for some caches."""

    @wraps(prepare)
    def prepared(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**prepare(*args, **kwargs), "token_mask": kwargs.get("attention_mask")}

    return prepared


@contextmanager
def _own_config(model: Any) -> Iterator[None]:
    """Give a model a configuration that no other has; back to the one that it had if it is not sparsified.

    A model without a head may be the body of another one, which is then saved with this configuration.
    """
    if not isinstance(model, PreTrainedModel) or model.base_model is model:
        yield
        return
    old, new = (list(_configs(each)) for each in (model.config, copy.deepcopy(model.config)))
    _replace_configs(model, old, new)
    try:
        yield
    except BaseException:
        _replace_configs(model, new, old)
        raise


def _configs(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    """A configuration and those in it, such as that of a text model."""
    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from _configs(value)


def _replace_configs(model: Any, old: list[PreTrainedConfig], new: list[PreTrainedConfig]) -> None:
    replacement = {id(each): other for each, other in zip(old, new, strict=True)}
    for module in model.modules():
        for name, value in vars(module).items():
            if id(value) in replacement:
                module.__dict__[name] = replacement[id(value)]


def register_sparsified_models() -> None:
    """Let every Auto class load folders of sparsified models."""
    AutoConfig.register(SparsifiedConfig.model_type, SparsifiedConfig, exist_ok=True)
    for auto in auto_classes():
        auto.register(SparsifiedConfig, _loader(auto), exist_ok=True)


def _loader(auto: Any) -> Any:
    """What an Auto class takes for the class of a sparsified model; it loads the class that is meant."""

    class Loader:
        config_class = SparsifiedConfig

        @classmethod
        def from_pretrained(cls, name: str, *args: Any, config: SparsifiedConfig, **kwargs: Any) -> Any:
            return _meant(auto, config).from_pretrained(name, *args, config=config.base, **kwargs)

        @classmethod
        def _from_config(cls, config: SparsifiedConfig, **kwargs: Any) -> Any:
            return _meant(auto, config)._from_config(config.base, **kwargs)

    Loader.__name__ = f"Sparsified{auto.__name__.removeprefix('Auto')}"
    return Loader


def _meant(auto: Any, config: SparsifiedConfig) -> Any:
    """The sparsified class that an Auto class loads for a configuration."""
    try:
        return sparsified_class(_get_model_class(config.base, auto._model_mapping))
    except KeyError as error:
        raise ValueError(
            f"{auto.__name__} has no class for the model type {config.base.model_type!r}, of which this "
            f"sparsified model is; load it by {auto_class_name(config.base)}"
        ) from error


def _mark(model: Any, spec: SparsifySpec) -> None:
    """Give a wrapped model, and its body, the class of sparsified ones, and its configuration the spec."""
    mark_config(model.config, spec.model_dump(mode="json"))
    for module in {id(m): m for m in (model, model.base_model)}.values():
        if not isinstance(module, Sparsified):
            model_class: Any = type(module)
            module.__class__ = sparsified_class(model_class)


def _recomputed(function: Callable[..., Any], *args: Any) -> Any:
    """`recompute`, in which routed parts see the padding of the call again."""
    return recompute(partial(_called, current_reading(), function), *args)


def _called(call: Reading, function: Callable[..., Any], *args: Any) -> Any:
    with reading(call):
        return function(*args)
