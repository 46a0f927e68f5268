"""Sparsified models of transformers: the call that knows its padding, saving, and loading by Auto classes."""

import json
import os
from collections.abc import Callable, Mapping
from functools import cache, partial, wraps
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sma.architectures.files.atomic import write_whole
from sma.recomputation import recompute
from sma.recording import naming
from sma.transformers.sparsification.attention_functions import PREFIX, sparse_implementation
from sma.transformers.sparsification.selection import Reading, current_reading, reading
from sma.transformers.sparsification.sparsify_spec import SparsifySpec
from sma.transformers.sparsification.wrap import as_spec, wrap_parts
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
)
from transformers.utils import CONFIG_NAME

FIELD = "sparsify"
"""The field of a configuration that holds the spec."""
_AUTO = (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)


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
        The same model, which is of its class still. `save_pretrained` writes a folder that the Auto classes
        load as a sparsified model, where `sma.transformers` is imported.

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
    wrap_parts(model, read)
    _mark(model, read)
    return model


class Sparsified:
    """What a sparsified model adds to its class; `sparsified_class` mixes it in."""

    config: Any

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

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write the model to a folder, as one that only this package loads: others would load it dense."""
        super().save_pretrained(save_directory, **kwargs)  # type: ignore[misc]
        if kwargs.get("is_main_process", True):
            path = Path(save_directory) / CONFIG_NAME
            base = json.loads(path.read_text())
            config = SparsifiedConfig(base=base, sparsify=base.pop(FIELD))
            write_whole(path, config.to_json_string(use_diff=False))


@cache
def sparsified_class(base: Any) -> Any:
    """The class of a sparsified model. It has the name of the model's own class, by which it is known."""

    class Model(Sparsified, base):
        def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
            base.__init__(self, config, *args, **kwargs)
            values = getattr(config, FIELD, None)
            if values is not None:
                spec = SparsifySpec.model_validate(values)
                wrap_parts(self, spec)
                _mark(self, spec)

        @wraps(base.forward)
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            with naming(self), reading(_reading(base.forward, self, *args, **kwargs)):
                return base.forward(self, *args, **kwargs)

    Model.__name__, Model.__qualname__ = base.__name__, base.__qualname__
    Model.__module__, Model.__doc__ = base.__module__, base.__doc__
    return Model


class SparsifiedConfig(PreTrainedConfig):
    """The configuration of a saved sparsified model.

    Attributes:
        base: the fields of the model's own configuration.
        sparsify: those of the `SparsifySpec`.
    """

    model_type = "sma_sparsified"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    base: Any = None
    sparsify: Any = None

    def model_config(self) -> Any:
        """The model's own configuration, with the spec in it."""
        kind = self.base["model_type"]
        config = AutoConfig.for_model(kind).from_dict(self.base)
        config.sparsify = dict(self.sparsify)
        return config


def register_sparsified_models() -> None:
    """Let the Auto classes load folders of sparsified models."""
    AutoConfig.register(SparsifiedConfig.model_type, SparsifiedConfig, exist_ok=True)
    for auto in _AUTO:
        auto.register(SparsifiedConfig, _loader(auto), exist_ok=True)


def _loader(auto: Any) -> Any:
    """What an Auto class takes for the class of a sparsified model; it loads the class that is meant."""

    class Loader:
        config_class = SparsifiedConfig

        @classmethod
        def from_pretrained(cls, name: str, *args: Any, config: SparsifiedConfig, **kwargs: Any) -> Any:
            own = config.model_config()
            model_class = sparsified_class(auto._model_mapping[type(own)])
            return model_class.from_pretrained(name, *args, config=own, **kwargs)

    Loader.__name__ = f"Sparsified{auto.__name__.removeprefix('Auto')}"
    return Loader


def _mark(model: Any, spec: SparsifySpec) -> None:
    """Give a wrapped model, and its body, the class of sparsified ones, and its configuration the spec."""
    setattr(model.config, FIELD, spec.model_dump(mode="json"))
    for module in {id(m): m for m in (model, model.base_model)}.values():
        if not isinstance(module, Sparsified):
            model_class: Any = type(module)
            module.__class__ = sparsified_class(model_class)


def _reading(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Reading:
    """What the arguments of a model's call say of padding and of a cache."""
    given = signature(forward).bind_partial(*args, **kwargs).arguments
    given = {**given.get("kwargs", {}), **given}
    ids = given.get("input_ids")
    inputs = given.get("inputs_embeds") if ids is None else ids
    mask, cache_ = given.get("attention_mask"), given.get("past_key_values")
    continues = cache_ is not None and cache_.get_seq_length() > 0
    if not isinstance(mask, Tensor) or mask.dim() != 2 or inputs is None:
        return Reading(None, continues)
    mask = mask[:, -inputs.shape[1] :].bool()
    return Reading(None if bool(mask.all()) else mask, continues)


def _recomputed(function: Callable[..., Any], *args: Any) -> Any:
    """`recompute`, in which routed parts see the padding of the call again."""
    return recompute(partial(_called, current_reading(), function), *args)


def _called(call: Reading, function: Callable[..., Any], *args: Any) -> Any:
    with reading(call):
        return function(*args)
