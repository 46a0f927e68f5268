"""Checks of the weights in a file against those that the model of a spec needs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_HEAD = "model.head."
_SHOWN = 3


def check_loaded(load_config: Any, loading_info: Any) -> None:
    """Raise ValueError if weights were missing or too many, but for those of the head, which may be new.

    Args:
        load_config: transformers' own, of one call of `from_pretrained`.
        loading_info: what it found: `missing_keys`, `unexpected_keys`, `mismatched_keys`.
    """
    wrong = [f"{name} is missing" for name in loading_info.missing_keys if not name.startswith(_HEAD)]
    wrong += [f"{name} is too much" for name in loading_info.unexpected_keys if not _of_a_head(name)]
    if not load_config.ignore_mismatched_sizes:
        wrong += [
            f"{name} is {tuple(found)} in the file and {tuple(own)} in the spec"
            for name, found, own in loading_info.mismatched_keys
        ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ValueError(
            f"{load_config.pretrained_model_name_or_path} holds the weights of another spec: "
            f"{', '.join(sorted(wrong)[:_SHOWN])}{more}; give the config.json that was saved with them"
        )


def moved(tensors: Mapping[str, Tensor], device_map: Mapping[str, Any] | None) -> None:
    """Move tensors to the devices that a map from the names of modules gives them."""
    if device_map is None:
        return
    for name, tensor in tensors.items():
        places = [place for place in device_map if not place or f"{name}.".startswith(f"{place}.")]
        if places and (device := device_map[max(places, key=len)]) != "disk":
            tensor.data = tensor.data.to(device)


def _of_a_head(name: str) -> bool:
    return f"model.{name.removeprefix('model.')}".startswith(_HEAD)
