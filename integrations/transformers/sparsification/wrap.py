"""`sparsify`: routers put in front of the parts of a transformers model, in place."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from pydantic import ValidationError
from torch import nn

from sma.architectures.specs.families import RouterSpec
from sma.modules.routers.shared_budget import PartRates
from sma.routing import Router
from sma.spec.errors import one_line
from sma.transformers.sparsification.attention_functions import sparse_implementation
from sma.transformers.sparsification.can_sparsify import check_model, check_parts, check_routers
from sma.transformers.sparsification.find_parts import FoundPart, find_parts
from sma.transformers.sparsification.open_router import open_router
from sma.transformers.sparsification.probe import starting_as_before
from sma.transformers.sparsification.routed_attention import RoutedAttention, attention_flops
from sma.transformers.sparsification.routed_feed_forward import (
    AddAndNorm,
    RoutedFeedForward,
    TwoMaps,
    feed_forward_flops,
)
from sma.transformers.sparsification.routed_layer import LayerParts, route_layer
from sma.transformers.sparsification.sparsify_spec import SparsifySpec


def wrap_parts(model: Any, spec: SparsifySpec, *, probed: bool) -> None:
    """Put routers in front of the parts that a spec names, or change nothing.

    Args:
        model: of transformers.
        spec: what is routed.
        probed: whether it is tried that the model computes the same; not where its weights are not there yet.

    Raises:
        ValueError: see `sparsify`.
    """
    check_model(model)
    parts = find_parts(model.base_model, spec)
    hides = spec.skipped == "unseen"
    check_parts(model, parts, hides=hides)
    rates = PartRates([_cost(part, sees_skipped=not hides) for part in parts])
    routers = [_router(spec, part, rates, i) for i, part in enumerate(parts)]
    check_routers(model, routers, spec.router.kind)
    with starting_as_before(model, parts) if probed else nullcontext():
        for part, router in zip(parts, routers, strict=True):
            _route(model.base_model, part, router, sees_skipped=not hides)
        if any(part.part != "feed_forward" for part in parts):
            model.config._attn_implementation = sparse_implementation(model.config._attn_implementation)


def as_spec(spec: SparsifySpec | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> SparsifySpec:
    """A spec given as such, as a mapping, or as its fields.

    Raises:
        ValueError: if both are given, or a field is wrong.
    """
    if spec is not None and fields:
        raise ValueError(f"give a spec or its fields ({', '.join(fields)}), not both")
    if isinstance(spec, SparsifySpec):
        return spec
    values = fields if spec is None else spec
    try:
        return SparsifySpec.model_validate(dict(values) if isinstance(values, Mapping) else values)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def _cost(part: FoundPart, *, sees_skipped: bool) -> int:
    """Operations per token, but for those of attention that depend on its length."""
    held = [part.module.get_submodule(name) for name in part.feed_forward]
    if part.part == "feed_forward":
        return sum(map(feed_forward_flops, held or [part.module]))
    assert part.projections is not None
    attention = part.module.get_submodule(part.attention)
    own = attention_flops(attention, part.projections, 1, 0, sees_skipped=sees_skipped)
    return own + sum(map(feed_forward_flops, held))


def _router(spec: SparsifySpec, part: FoundPart, rates: PartRates, index: int) -> Router:
    router = open_router(
        _of_its_own_seed(spec.router, index),
        part.d_model,
        rate=spec.rate,
        over=spec.ramp,
        coefficient=spec.coefficient,
        logit=spec.init_logit,
        rates=rates,
        part=index,
    )
    return router.to(next(part.module.parameters()))


def _of_its_own_seed(router: RouterSpec, index: int) -> RouterSpec:
    """A router's spec; one that draws by a seed would else decide alike in all parts."""
    seed = getattr(router, "seed", None)
    return router if seed is None else router.model_copy(update={"seed": (seed + index) % 2**63})


def _route(body: nn.Module, part: FoundPart, router: Router, *, sees_skipped: bool) -> None:
    if part.part == "layer":
        assert part.projections is not None
        parts = LayerParts(part.attention, part.projections, part.feed_forward, sees_skipped)
        route_layer(part.module, router, parts)
    elif part.part == "attention":
        assert part.projections is not None
        routed = RoutedAttention(part.module, router, part.projections, sees_skipped=sees_skipped)
        _replace(body, part.name, routed)
    elif part.feed_forward:
        first, second = part.feed_forward
        maps = TwoMaps(getattr(part.module, first), getattr(part.module, second))
        rest = AddAndNorm(getattr(part.module, second))
        setattr(part.module, first, RoutedFeedForward(maps, router).train(part.module.training))
        setattr(part.module, second, rest.train(part.module.training))
    else:
        _replace(body, part.name, RoutedFeedForward(part.module, router))


def _replace(body: nn.Module, name: str, routed: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    holder = body.get_submodule(parent)
    setattr(holder, child, routed.train(getattr(holder, child).training))
