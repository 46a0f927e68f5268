"""What a model's spec must hold beyond its fields: that its parts fit together, and its size."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sma import Spec
from sma.architectures.build_errors import PartError, build_error, check_built, needs_data
from sma.architectures.specs.families import (
    BlockSpec,
    EmbeddingSpec,
    HeadSpec,
    LayerSpec,
    NormSpec,
    SubModuleSpec,
)
from sma.causality import check_causal
from sma.spec.base import children

MAX_PARAMETERS = 10**12
MAX_BLOCKS = 4096
BUILT = (BlockSpec, LayerSpec, NormSpec, SubModuleSpec)
"""The families that are built from a width alone."""


def check_builds(spec: Spec, *, d_model: int, embedding: EmbeddingSpec, head: HeadSpec) -> None:
    """Build every part of a model without memory (on torch's meta device), one of equal parts only.

    Raises:
        ValueError: with the path of the innermost part that cannot be built and why; or if there are more
            than `MAX_PARAMETERS` parameters or `MAX_BLOCKS` blocks.
    """
    n_blocks = _expanded(spec)
    if n_blocks > MAX_BLOCKS:
        raise ValueError(f"the model has {n_blocks} blocks, more than {MAX_BLOCKS}; make a `repeat` smaller")
    parts = _Parts(causal=head.needs_causal)
    with torch.device("meta"):
        first = _tried("embedding", embedding, lambda: parts.checked(embedding.build(d_model)))
        last = None
        if first is not None:
            last = _tried("head", head, lambda: parts.checked(head.build(d_model, first)))
        for path, part in children(spec).items():
            if isinstance(part, BUILT):
                _tried(path, part, lambda path=path, part=part: parts.give(path, part, d_model))  # type: ignore[misc]
    ends = nn.ModuleList(end for end in (first, last) if end is not None)  # they may share weights
    n_parameters = sum(p.numel() for p in ends.parameters()) + sum(n for _, n in parts.given)
    if n_parameters > MAX_PARAMETERS:
        raise ValueError(
            f"the model has {n_parameters:.2g} parameters, more than {MAX_PARAMETERS:.0e}; make a size or a "
            "`repeat` smaller"
        )


class _Parts:
    """The parts of a model that were built; equal ones, and those inside others, are built once.

    Attributes:
        causal: whether none of them may look ahead.
        given: the modules that the part which is being built has asked for, each with how many parameters it
            stands for: those of all its repeats.
    """

    def __init__(self, *, causal: bool) -> None:
        self.causal = causal
        self.given: list[tuple[nn.Module, int]] = []
        self._built: dict[Any, tuple[nn.Module, int]] = {}

    def give(self, path: str, spec: Any, d_model: int, *, shared: bool = True) -> nn.Module:
        """The module of a spec, for a part that leaves it as it is (`shared`) or may change it."""
        key = type(spec), spec.model_dump_json(), d_model
        if key not in self._built:
            self._built[key] = self._build(path, spec, d_model)
        module, n_parameters = self._built[key]
        module = module if shared else copy.deepcopy(module)
        repeat = spec.repeat if isinstance(spec, BlockSpec) else 1
        self.given.append((module, repeat * n_parameters))
        return module

    def checked(self, module: nn.Module) -> nn.Module:
        """The module, if it may look ahead or does not."""
        if self.causal and isinstance(module, nn.Module):
            check_causal(module)
        return module

    def _build(self, path: str, spec: Any, d_model: int) -> tuple[nn.Module, int]:
        outside, self.given = self.given, []
        try:
            module = self.checked(self._with_parts(path, spec).build(d_model))
            inside = self.given
        finally:
            self.given = outside
        theirs = {id(p) for part, _ in inside for p in part.parameters()}
        own = sum(p.numel() for p in module.parameters() if id(p) not in theirs)
        return module, own + sum(n for _, n in inside)

    def _with_parts(self, path: str, spec: Any) -> Any:
        """The spec, with parts that are built here, once."""
        shared = type(spec).__module__.startswith("sma.")

        def prepared(place: str, value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(prepared(f"{place}.{i}", item) for i, item in enumerate(value))
            if not isinstance(value, BUILT):
                return value
            once = value.model_copy(update={"repeat": 1} if isinstance(value, BlockSpec) else {})

            def build(d_model: int) -> nn.Module:
                return _located(place, value, lambda: self.give(place, value, d_model, shared=shared))

            vars(once)["build"] = build
            return once

        fields = {name: prepared(f"{path}.{name}", getattr(spec, name)) for name in type(spec).model_fields}
        return spec.model_copy(update=fields)


def _expanded(spec: Spec) -> int:
    """The blocks in a spec, itself included, each as often as it is repeated."""
    inside = sum(_expanded(part) for part in children(spec).values())
    return spec.repeat * (1 + inside) if isinstance(spec, BlockSpec) else inside


def _tried(path: str, part: Spec, build: Callable[[], nn.Module]) -> nn.Module | None:
    """The module; None if it needs data to be built, so that this says nothing about it."""
    try:
        return _located(path, part, build)
    except PartError:
        raise
    except Exception:
        return None


def _located(path: str, part: Spec, build: Callable[[], nn.Module]) -> nn.Module:
    """The module; what goes wrong names the innermost part, unless it only needs data."""
    try:
        module = build()
    except PartError:
        raise
    except Exception as error:  # the part may be another package's
        if needs_data(error):
            raise
        raise build_error(part, path, error) from error
    check_built(part, path, module)
    return module
