"""The tokens that a routed part of a transformers model computes: decided, packed, and put back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from sma.compaction import PackedCompaction
from sma.elements import Elements
from sma.recomputation import replayed
from sma.recording import record_layer
from sma.routing import Router, Routing, check_routing
from sma.sequence import zero_padding
from sma.state import NoState


@dataclass(frozen=True)
class Reading:
    """One call of a sparsified model.

    Attributes:
        mask: `(B, L)` bool, True = a real token. None: all are real.
        continues: whether a cache holds tokens before these.
    """

    mask: Tensor | None = None
    continues: bool = False


@contextmanager
def reading(call: Reading) -> Iterator[None]:
    """Inside, routed parts see the padding of a call."""
    token = _reading.set(call)
    try:
        yield
    finally:
        _reading.reset(token)


def call_of(token_mask: Tensor | None, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Reading:
    """What the arguments of a model's call say of padding and of a cache.

    Args:
        token_mask: `(B, L)`, which `generate` gives beside a mask of attention; None: the call's own.
        forward: of the model; a mask of its that is not `(B, L)` says nothing of padding, but a model around
            this one may have said it.
        args: of `forward`.
        kwargs: of `forward`.
    """
    given = signature(forward).bind_partial(*args, **kwargs).arguments
    given = {**given.get("kwargs", {}), **given}
    ids = given.get("input_ids")
    inputs = given.get("inputs_embeds") if ids is None else ids
    mask, cache = given.get("attention_mask"), given.get("past_key_values")
    past = 0 if cache is None else int(cache.get_seq_length())
    mask = mask if token_mask is None else token_mask
    if mask is None or inputs is None:
        return Reading(None, past > 0)
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        return replace(current_reading(), continues=past > 0)
    end = min(past + inputs.shape[1], mask.shape[1])  # a mask may be as long as a static cache
    mask = mask[:, end - inputs.shape[1] : end].bool()
    return Reading(None if bool(mask.all()) else mask, past > 0)


def current_reading() -> Reading:
    """The call that runs; outside of a sparsified model's, one without padding."""
    return _reading.get() or Reading()


def padding_mask(router: Router) -> Tensor | None:
    """The mask `(B, L)` of the call that runs.

    Raises:
        ValueError: if a cache holds earlier tokens, and the router's decisions depend on them.
    """
    call = current_reading()
    if call.continues and not _is_stateless(router):
        raise ValueError(
            f"router {type(router).__name__} decides by earlier tokens, which a cache of keys and values "
            "does not hold; generate with use_cache=False, or sparsify with a pointwise router, as sigmoid"
        )
    return call.mask


def decide(layer: nn.Module, x: Tensor, router: Router) -> tuple[Routing, Elements]:
    """The decisions of a routed part about `x (B, L, D)`, recorded and replayed, and the active tokens.

    Args:
        layer: as it is recorded; has `sub_modules`, one of them.
        x: what the router reads.
        router: of one module.
    """
    mask = padding_mask(router)
    x = zero_padding(x, mask)
    routing = check_routing(router(x, mask), router, x, mask)
    routing = replace(routing, active=replayed(routing.active))
    elements = PackedCompaction().compress(x, routing.active[..., 0])
    record_layer(layer, routing, [elements], mask)
    return routing, elements


def real_tokens(x: Tensor) -> Elements | None:
    """The tokens of `x (B, L, D)` that are not padding; None if all are real."""
    mask = current_reading().mask
    return None if mask is None else PackedCompaction().compress(x, mask)


@dataclass(frozen=True)
class Packed:
    """A module that runs on chosen tokens only.

    Attributes:
        module: called with `(B, L, D)`, it is given the chosen tokens as one row `(1, N, D)` instead.
        elements: the chosen tokens.
        weight: `(N,)`, a factor of its results; None: 1.
        fill: what its result is at all other tokens; None: the result stays `(N, D')`.
    """

    module: nn.Module
    elements: Elements
    weight: Tensor | None = None
    fill: float | None = 0.0


@contextmanager
def packing(parts: Sequence[Packed]) -> Iterator[None]:
    """Inside, modules run on chosen tokens only.

    The hooks are set for the time of one call, on the modules that are there then: adapters may have taken
    the place of those that were there before. They leave calls of other threads alone.
    """
    token = _packed.set((*_packed.get(), *parts))
    with ExitStack() as stack:
        stack.callback(_packed.reset, token)
        for part in parts:
            for hook in (
                part.module.register_forward_pre_hook(lambda module, args, part=part: _gathered(args, part)),
                part.module.register_forward_hook(lambda module, args, y, part=part: _scattered(y, part)),
            ):
                stack.callback(hook.remove)
        yield


def scatter(y: Tensor, elements: Elements, fill: float = 0.0) -> Tensor:
    """`y (N, ...)` at the places of N tokens in `(B, L, ...)`, `fill` elsewhere."""
    assert elements.longest is not None
    n_rows, length = elements.n_rows, elements.longest
    out = y.new_full((n_rows * length, *y.shape[1:]), fill)
    return out.index_copy(0, elements.index, y).view(n_rows, length, *y.shape[1:])


def confidence_of(routing: Routing, elements: Elements) -> Tensor:
    """`(N,)`: the confidence of each active token."""
    return routing.confidence[..., 0].flatten().index_select(0, elements.index)


def _gathered(args: tuple[Any, ...], part: Packed) -> tuple[Any, ...]:
    if not _is_of_this_thread(part):
        return args
    return tuple(_as_row(arg, part) if isinstance(arg, Tensor) and arg.dim() > 1 else arg for arg in args)


def _as_row(x: Tensor, part: Packed) -> Tensor:
    """The chosen tokens of `x (B, L, D)`, or those that are chosen already `(N, D)`, as `(1, N, D)`."""
    chosen = x.flatten(0, 1).index_select(0, part.elements.index) if x.dim() == 3 else x
    return chosen.unsqueeze(0)


def _scattered(y: Tensor, part: Packed) -> Tensor:
    if not _is_of_this_thread(part):
        return y
    y = y.squeeze(0)
    if part.weight is not None:
        y = part.weight.unsqueeze(-1).to(y) * y
    return y if part.fill is None else scatter(y, part.elements, part.fill)


def _is_of_this_thread(part: Packed) -> bool:
    return any(each is part for each in _packed.get())


def _is_stateless(router: Router) -> bool:
    with torch.no_grad():
        try:
            return isinstance(router.init_state(0), NoState)
        except NotImplementedError:
            return False


_reading: ContextVar[Reading | None] = ContextVar("reading", default=None)
_packed: ContextVar[tuple[Packed, ...]] = ContextVar("packed", default=())
