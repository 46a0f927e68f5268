"""What a model's spec must hold beyond its fields: that its parts fit together, and its size."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from sma import Spec
from sma.architectures.families import BlockSpec, EmbeddingSpec, HeadSpec, LayerSpec, NormSpec, SubModuleSpec
from sma.spec import children, walk

S = TypeVar("S", bound=Spec)

MAX_PARAMETERS = 10**10
MAX_BLOCKS = 4096


def check_builds(spec: Spec, *, d_model: int, embedding: EmbeddingSpec, head: HeadSpec) -> None:
    """Build every part of a model without memory (on torch's meta device), one of equal blocks only.

    Raises:
        ValueError: with the path of the innermost part that cannot be built and why; or if there are more
            than `MAX_PARAMETERS` parameters or `MAX_BLOCKS` blocks.
    """
    n_blocks = _expanded(spec)
    if n_blocks > MAX_BLOCKS:
        raise ValueError(f"the model has {n_blocks} blocks, more than {MAX_BLOCKS}; make a `repeat` smaller")
    with torch.device("meta"):
        built = _build("embedding", lambda: embedding.build(d_model))
        n_parameters = _count(built)
        if built is not None:
            n_parameters += _count(_build("head", lambda: head.build(d_model, built)))
        for path, part in reversed(list(walk(_once(spec)))):
            if isinstance(part, BlockSpec | LayerSpec | NormSpec | SubModuleSpec):
                module = _build(path, lambda part=part: part.build(d_model))  # type: ignore[misc]
                if path.startswith("blocks.") and path.count(".") == 1:
                    n_parameters += _count(module) * n_blocks
    if n_parameters > MAX_PARAMETERS:
        raise ValueError(
            f"the model has up to {n_parameters:.2g} parameters, more than {MAX_PARAMETERS:.0e}; make a size "
            "or a `repeat` smaller"
        )


def _expanded(spec: Spec) -> int:
    """The blocks in a spec, itself included, each as often as it is repeated."""
    inside = sum(_expanded(part) for part in children(spec).values())
    return spec.repeat * (1 + inside) if isinstance(spec, BlockSpec) else inside


def _build(path: str, build: Callable[[], nn.Module]) -> nn.Module | None:
    """The module; None if it needs data to be built, so that this says nothing about it."""
    try:
        return build()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (NotImplementedError, RuntimeError):
        return None


def _count(module: nn.Module | None) -> int:
    return 0 if module is None else sum(parameter.numel() for parameter in module.parameters())


def _once(spec: S) -> S:
    """The spec with every `repeat` set to 1."""
    changes: dict[str, object] = {}
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, Spec):
            changes[name] = _once(value)
        elif isinstance(value, tuple):
            changes[name] = tuple(_once(item) if isinstance(item, Spec) else item for item in value)
    if isinstance(spec, BlockSpec):
        changes["repeat"] = 1
    return spec.model_copy(update=changes)
