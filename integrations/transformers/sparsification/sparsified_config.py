"""The configuration of sparsified models, and the form in which it is written: no other code loads it."""

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from sma.architectures.files.atomic import write_whole
from sma.transformers.sparsification.run_time_classes import reduced
from transformers import CONFIG_MAPPING, PreTrainedConfig

FIELD = "sparsify"
"""The field of a configuration that holds the spec."""
_REFUSAL = (
    "this model was made by sma.sparsify: import sma.transformers (of "
    "sparse-modular-activation[transformers]) and load it by an Auto class, such as AutoModelForCausalLM"
)
_CHECKED = ("vocab_size", "hidden_size", "tie_word_embeddings")
"""Fields whose types the configurations of models check. The refusal is written there and shown in their
error: no dense model is loaded from the folder, whether this package is installed or not. `PreTrainedConfig`
itself, as which transformers' Trainer reads a checkpoint, does not check them."""
_PART_REFUSAL = (
    "a part of this model was made sparse by sma.sparsify, and is not loaded as such within it: sparsify the "
    "whole dense model by the same spec, with only=... for the part, and load these weights into it"
)
"""Written in place of labels in a configuration that is a part of another model's, as of its text model."""


class ConfigWithSpec:
    """What a sparsified model's configuration adds to its class; `config_with_spec` mixes it in."""

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields of the model's own configuration, and the spec, as they were written."""
        values, unused = super().get_config_dict(*args, **kwargs)  # type: ignore[misc]
        return (_unpacked(values) if _is_packed(values) else values), unused

    def to_dict(self) -> dict[str, Any]:
        """Its fields; with a refusal, as another model's configuration may hold it and write it."""
        values: dict[str, Any] = super().to_dict()  # type: ignore[misc]
        if hasattr(self, FIELD) and values.get("id2label") == PreTrainedConfig().to_dict().get("id2label"):
            values["id2label"] = {_PART_REFUSAL: ""}
        return values

    def to_json_string(self, use_diff: bool = True) -> str:
        """Its fields, as they are shown."""
        return _as_dense(self).to_json_string(use_diff)

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write it so that it is loaded as a sparsified model only; by `save_pretrained` of any model's."""
        if hasattr(self, FIELD):
            SparsifiedConfig(base=self).to_json_file(json_file_path)
        else:
            super().to_json_file(json_file_path, use_diff)  # type: ignore[misc]

    @override
    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduced(config_with_spec, self)


@cache
def config_with_spec(base: Any) -> Any:
    """The class of a sparsified model's configuration. It has the name of the model's own, which Auto classes
    go by."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (ConfigWithSpec, base), names)


def mark_config(config: Any, spec: dict[str, Any]) -> None:
    """Put a spec into a configuration, which is written as a sparsified model's from then on."""
    setattr(config, FIELD, spec)
    if not isinstance(config, ConfigWithSpec):
        config_class: Any = type(config)
        config.__class__ = config_with_spec(config_class)


class SparsifiedConfig(PreTrainedConfig):
    """What the Auto classes read from the folder of a sparsified model.

    Attributes:
        base: the model's own configuration, with the spec in it.
    """

    model_type = "sma_sparsified"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    base: Any = None

    @classmethod
    @override
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """What is given beside the fields goes to the model's own configuration."""
        returns_unused = kwargs.pop("return_unused_kwargs", False)
        own: Any = CONFIG_MAPPING[config_dict["base_type"]]
        base, unused = config_with_spec(own).from_dict(
            _unpacked(config_dict), return_unused_kwargs=True, **kwargs
        )
        config = cls(base=base, name_or_path=base.name_or_path)
        return (config, unused) if returns_unused else config

    @override
    def to_dict(self) -> dict[str, Any]:
        values = {} if self.base is None else _as_dense(self.base).to_diff_dict()
        return {
            "model_type": self.model_type,
            **dict.fromkeys(_CHECKED, _REFUSAL),
            "base_type": values.pop("model_type", None),
            FIELD: values.pop(FIELD, None),
            "base": values,
        }

    @override
    def to_diff_dict(self) -> dict[str, Any]:
        return self.to_dict()

    @override
    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        write_whole(Path(json_file_path), self.to_json_string(use_diff))


def _as_dense(config: Any) -> PreTrainedConfig:
    """A configuration as one of the dense model's class."""
    dense = copy.copy(config)
    if isinstance(config, ConfigWithSpec):
        dense.__class__ = type(config).__bases__[1]
    return dense


def _is_packed(values: dict[str, Any]) -> bool:
    return values.get("model_type") == SparsifiedConfig.model_type


def _unpacked(values: dict[str, Any]) -> dict[str, Any]:
    return {**values["base"], "model_type": values["base_type"], FIELD: values[FIELD]}
