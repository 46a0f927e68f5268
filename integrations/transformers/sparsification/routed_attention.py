"""Attention of a transformers model behind a router."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from sma.elements import Elements
from sma.routing import Router
from sma.transformers.sparsification.attention_functions import attending
from sma.transformers.sparsification.selection import (
    Packed,
    confidence_of,
    decide,
    packing,
    real_tokens,
)
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Projections:
    """The linear maps of an attention, by their dotted names in it.

    Attributes:
        query: of the queries; where it is one of `keys` too, the map gives all three at once.
        output: of the result.
        keys: of the keys, and after them of the values.
    """

    query: str
    output: str
    keys: tuple[str, ...]

    @property
    def fused(self) -> bool:
        """Whether one map gives queries, keys and values."""
        return self.query in self.keys

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys((self.query, *self.keys, self.output)))


@contextmanager
def attention_of(
    attention: nn.Module,
    projections: Projections,
    x: Tensor,
    active: Elements,
    *,
    sees_skipped: bool,
    weight: Tensor | None = None,
    arguments: Iterable[Any] = (),
) -> Iterator[None]:
    """Inside, an attention computes the active tokens alone; its output is 0 at all others.

    Args:
        attention: called with `x`.
        projections: its maps.
        x: `(B, L, D)`.
        active: the tokens that attend.
        sees_skipped: whether the keys and values of tokens that skip are there for others.
        weight: `(N,)`, a factor of the output of each.
        arguments: of its call; one may be a cache.
    """
    parts = [Packed(attention.get_submodule(projections.output), active, weight)]
    kept = real_tokens(x) if sees_skipped else active
    if not projections.fused:
        parts.append(Packed(attention.get_submodule(projections.query), active))
    if kept is not None:
        parts += [Packed(attention.get_submodule(name), kept) for name in projections.keys]
    with packing(parts), attending(attention, active, hides=not sees_skipped, arguments=arguments):
        yield


class AttentionPart(nn.Module):
    """An attention that can be routed, and what it costs.

    Args:
        attention: of transformers.
        projections: its maps.
        sees_skipped: see `attention_of`.
    """

    def __init__(self, attention: nn.Module, projections: Projections, *, sees_skipped: bool) -> None:
        super().__init__()
        self.module = attention
        self.projections = projections
        self.sees_skipped = sees_skipped

    @override
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def flops(self, n: int) -> int:
        """Operations of n active tokens of a row, as if it had no others to attend to."""
        return attention_flops(self.module, self.projections, n, n * n, sees_skipped=self.sees_skipped)


def attention_flops(
    attention: nn.Module, projections: Projections, n: int, n_pairs: int, *, sees_skipped: bool
) -> int:
    """Operations that n active tokens cause, which see `n_pairs` keys in all; a multiply-add counts as 2.

    Where tokens that skip are seen, keys and values are computed for all tokens and not counted here; so is
    a map that gives queries, keys and values at once.
    """
    names = {projections.query, projections.output, *projections.keys}
    if sees_skipped:
        names -= set(projections.keys)
    per_token = sum(_size(attention.get_submodule(name)) for name in names)
    return 2 * n * per_token + 4 * n_pairs * input_width(attention.get_submodule(projections.output))


def input_width(linear: Any) -> int:
    """D of a map that reads `(B, L, D)`: a `Linear` of torch, whose weight is `(D', D)`, or a `Conv1D`."""
    return linear.nx if isinstance(linear, Conv1D) else linear.weight.shape[-1]


class RoutedAttention(nn.Module):
    """An attention that tokens may skip: they do not attend, and the attention adds 0 to them.

    Args:
        attention: of transformers, which keeps its own `forward`.
        router: of one module.
        projections: its maps.
        sees_skipped: whether tokens that skip are seen by others: their keys and values are computed.
    """

    def __init__(
        self, attention: nn.Module, router: Router, projections: Projections, *, sees_skipped: bool
    ) -> None:
        super().__init__()
        self.router = router
        self.sub_modules = nn.ModuleList([AttentionPart(attention, projections, sees_skipped=sees_skipped)])

    @property
    def part(self) -> AttentionPart:
        """The attention."""
        return self.sub_modules[0]  # type: ignore[return-value]

    @override
    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        routing, active = decide(self, hidden_states, self.router)
        part = self.part
        with attention_of(
            part.module,
            part.projections,
            hidden_states,
            active,
            sees_skipped=part.sees_skipped,
            weight=confidence_of(routing, active),
            arguments=(*args, *kwargs.values()),
        ):
            return part(hidden_states, *args, **kwargs)


def _size(linear: Any) -> int:
    return int(linear.weight.numel())
