"""What a model's spec must hold beyond its fields: that its parts fit together, and its size."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import nn

from sma import Spec
from sma.architectures.build_errors import build_error, check_built, needs_data
from sma.architectures.families import BlockSpec, EmbeddingSpec, HeadSpec, LayerSpec, NormSpec, SubModuleSpec
from sma.spec import MAX_PARTS, TOO_MANY_PARTS, children, walk

MAX_PARAMETERS = 10**12
MAX_BLOCKS = 4096
BUILT = (BlockSpec, LayerSpec, NormSpec, SubModuleSpec)
"""The families that are built from a width alone."""


def check_builds(spec: Spec, *, d_model: int, embedding: EmbeddingSpec, head: HeadSpec) -> None:
    """Build every part of a model without memory (on torch's meta device), one of equal parts only.

    Raises:
        ValueError: with the path of the innermost part that cannot be built and why; or if there are more
            than `MAX_PARAMETERS` parameters, `MAX_BLOCKS` blocks or `MAX_PARTS` parts.
    """
    if len(list(islice(walk(spec), MAX_PARTS + 1))) > MAX_PARTS:
        raise ValueError(TOO_MANY_PARTS)
    n_blocks = _expanded(spec)
    if n_blocks > MAX_BLOCKS:
        raise ValueError(f"the model has {n_blocks} blocks, more than {MAX_BLOCKS}; make a `repeat` smaller")
    parts = _Parts()
    with torch.device("meta"):
        first = _build("embedding", embedding, lambda: embedding.build(d_model))
        last = None if first is None else _build("head", head, lambda: head.build(d_model, first))
        for path, part in reversed(list(walk(spec))):
            if isinstance(part, BUILT):
                _build(path, part, lambda part=part: parts.build(part, d_model))  # type: ignore[misc]
    ends = nn.ModuleList(end for end in (first, last) if end is not None)  # they may share weights
    n_parameters = sum(p.numel() for p in ends.parameters()) + parts.count_inside(spec, d_model)
    if n_parameters > MAX_PARAMETERS:
        raise ValueError(
            f"the model has {n_parameters:.2g} parameters, more than {MAX_PARAMETERS:.0e}; make a size or a "
            "`repeat` smaller"
        )


class _Parts:
    """The parts of a model that were built; equal ones, and those inside others, are built once."""

    def __init__(self) -> None:
        self.modules: dict[Any, nn.Module] = {}
        self.counts: dict[Any, int] = {}

    def build(self, spec: Any, d_model: int) -> nn.Module:
        """The module of a spec, made of those of its parts."""
        key = _key(spec, d_model)
        if key not in self.modules:
            self.modules[key] = self._with_parts(spec).build(d_model)
        return self.modules[key]

    def count_inside(self, spec: Spec, d_model: int) -> int:
        """The parameters of everything in a spec, each block as often as it is repeated."""
        return sum(
            (part.repeat if isinstance(part, BlockSpec) else 1) * self._count(part, d_model)
            for part in children(spec).values()
        )

    def _count(self, spec: Spec, d_model: int) -> int:
        key = _key(spec, d_model)
        if key not in self.counts:
            inside = (self.modules.get(_key(part, d_model)) for part in children(spec).values())
            theirs = {id(p) for module in inside if module is not None for p in module.parameters()}
            module = self.modules.get(key)
            own = () if module is None else (p.numel() for p in module.parameters() if id(p) not in theirs)
            self.counts[key] = sum(own) + self.count_inside(spec, d_model)
        return self.counts[key]

    def _with_parts(self, spec: Any) -> Any:
        """The spec, with parts that are built here, once."""

        def prepared(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(prepared(item) for item in value)
            if not isinstance(value, BUILT):
                return value
            once = value.model_copy(update={"repeat": 1} if isinstance(value, BlockSpec) else {})
            vars(once)["build"] = lambda d_model: self.build(value, d_model)
            return once

        return spec.model_copy(
            update={name: prepared(getattr(spec, name)) for name in type(spec).model_fields}
        )


def _key(spec: Spec, d_model: int) -> tuple[Any, ...]:
    return type(spec), spec.model_dump_json(), d_model


def _expanded(spec: Spec) -> int:
    """The blocks in a spec, itself included, each as often as it is repeated."""
    inside = sum(_expanded(part) for part in children(spec).values())
    return spec.repeat * (1 + inside) if isinstance(spec, BlockSpec) else inside


def _build(path: str, part: Spec, build: Callable[[], nn.Module]) -> nn.Module | None:
    """The module; None if it needs data to be built, so that this says nothing about it."""
    try:
        module = build()
    except Exception as error:  # the part may be another package's
        if needs_data(error):
            return None
        raise build_error(part, path, error) from error
    check_built(part, path, module)
    return module
