"""Whole layers of a transformers model behind a router, and all routed parts of a model."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from sma.elements import Elements
from sma.routing import Router
from sma.transformers.sparsification.routed_attention import (
    Projections,
    RoutedAttention,
    attention_flops,
    attention_of,
)
from sma.transformers.sparsification.routed_feed_forward import RoutedFeedForward, feed_forward_flops
from sma.transformers.sparsification.run_time_classes import reduced
from sma.transformers.sparsification.selection import Packed, confidence_of, decide, packing, scatter


@dataclass(frozen=True)
class LayerParts:
    """The two parts of a layer, by their names in it.

    Attributes:
        attention: its name.
        projections: its maps.
        feed_forward: the modules that a feed-forward is called by, one after another.
        sees_skipped: whether tokens that skip the layer are seen by others.
    """

    attention: str
    projections: Projections
    feed_forward: tuple[str, ...]
    sees_skipped: bool


class _Cost:
    """What a layer costs, for recordings; it stands in the place of a sub-module."""

    def __init__(self, layer: "RoutedLayer") -> None:
        self.module = layer

    def flops(self, n: int) -> int:
        """Operations of n active tokens of a row, as if it had no others to attend to."""
        return self.module.flops(n, n * n)


class RoutedLayer(nn.Module):
    """A layer that tokens may skip as a whole, and leave as they entered; mixed into the layer's own class.

    The router reads the layer's input at unit scale, since a residual stream grows with depth. The layer's
    own `forward` runs: its attention and its feed-forward compute the active tokens alone.
    """

    router: Router
    parts: LayerParts

    @property
    def sub_modules(self) -> list[_Cost]:
        """The layer, as recordings ask for its cost."""
        return [_Cost(self)]

    def flops(self, n: int, n_pairs: int) -> int:
        """Operations that n active tokens cause, which see `n_pairs` keys in all."""
        names, parts = self.parts.feed_forward, self.parts
        attention = attention_flops(
            self.get_submodule(parts.attention),
            parts.projections,
            n,
            n_pairs,
            sees_skipped=parts.sees_skipped,
        )
        return attention + n * sum(feed_forward_flops(self.get_submodule(name)) for name in names)

    @override
    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        router_input = F.layer_norm(hidden_states, hidden_states.shape[-1:])
        routing, active = decide(self, router_input, self.router)
        parts = self.parts
        attention = attention_of(
            self.get_submodule(parts.attention),
            parts.projections,
            hidden_states,
            active,
            sees_skipped=parts.sees_skipped,
            arguments=(*args, *kwargs.values()),
        )
        with attention, packing(self._packed_feed_forward(active)):
            output = super().forward(hidden_states, *args, **kwargs)
        weight = scatter(confidence_of(routing, active), active).unsqueeze(-1)
        result = torch.lerp(hidden_states, _first(output), weight.to(hidden_states))
        return (result, *output[1:]) if isinstance(output, tuple) else result

    @override
    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduced(routed_class, self)

    def _packed_feed_forward(self, active: Elements) -> list[Packed]:
        *inner, last = (self.get_submodule(name) for name in self.parts.feed_forward)
        return [*(Packed(module, active, fill=None) for module in inner), Packed(last, active)]


@cache
def routed_class(layer: Any) -> Any:
    """The class of a layer with a router. It has the name of the layer's own class, by which models split."""
    names = {
        "__doc__": RoutedLayer.__doc__,
        "__module__": layer.__module__,
        "__qualname__": layer.__qualname__,
    }
    return type(layer.__name__, (RoutedLayer, layer), names)


def route_layer(layer: nn.Module, router: Router, parts: LayerParts) -> None:
    """Put a router into a layer, in place."""
    layer_class: Any = type(layer)
    layer.__class__ = routed_class(layer_class)
    layer.router = router
    layer.parts = parts  # type: ignore[assignment]


def routed_parts(model: nn.Module) -> dict[str, nn.Module]:
    """The routed parts of a sparsified model by their names, as `record` gives them; each has a `router`."""
    kinds = (RoutedFeedForward, RoutedAttention, RoutedLayer)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output
