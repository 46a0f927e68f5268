"""Attention functions of transformers that compute the chosen queries only."""

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sma.elements import Elements
from sma.transformers.sparsification.selection import scatter
from transformers import AttentionInterface, AttentionMaskInterface, Cache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PREFIX = "sma_"
SUPPORTED = ("sdpa", "eager")
"""The attention implementations that take a mask with a row for every query."""
TABLE = "ALL_ATTENTION_FUNCTIONS"
"""The name of the table in which an attention of transformers looks up its function."""
EAGER = "eager_attention_forward"
"""The name, or its end, of the function that it calls if `eager` is asked for."""


@dataclass
class Attending:
    """The queries of an attention that runs.

    Attributes:
        elements: the tokens that attend.
        hides: whether no other tokens are seen.
        called: whether the attention has called a function of this module.
        seen: `(B, Lk)` bool, the keys that are seen where a cache gives them; None: all, or `elements`.
    """

    elements: Elements
    hides: bool
    called: bool = False
    seen: Tensor | None = None


@contextmanager
def attending(
    attention: nn.Module, elements: Elements, *, hides: bool, arguments: Iterable[Any] = ()
) -> Iterator[None]:
    """Inside, the attention functions of this module compute the queries of `elements` only.

    Args:
        attention: called inside.
        elements: the tokens that attend.
        hides: whether no other tokens are seen, by these and by later ones that find them in a cache.
        arguments: of the attention's call; one may be a cache.

    Raises:
        ValueError: if the attention does not call these functions.
    """
    call = Attending(elements, hides)
    token = _attending.set(call)
    try:
        with ExitStack() as stack:
            for held in (each for each in arguments if hides and isinstance(each, Cache)):
                stack.enter_context(_marking(getattr(held, "self_attention_cache", held), call))
            yield
    finally:
        _attending.reset(token)
    if not call.called:
        configs: list[Any] = [each.config for each in attention.modules() if hasattr(each, "config")]
        raise ValueError(
            f"{type(attention).__name__} did not call the attention function of a sparsified model (its "
            f"config names {', '.join(repr(each._attn_implementation) for each in configs)}); choose one by "
            "set_attn_implementation of the model that was sparsified"
        )


def sparse_implementation(name: Any) -> Any:
    """The name under which a model calls the functions of this module, in place of those that it would call.

    Args:
        name: as transformers' `attn_implementation`: a name, None, or a dict of names by parts of a model.

    Raises:
        ValueError: if an implementation cannot leave queries out.
    """
    if isinstance(name, dict):
        return {part: sparse_implementation(inner) for part, inner in name.items()}
    plain = (name or "eager").removeprefix(PREFIX)
    if plain not in SUPPORTED:
        raise ValueError(
            f"attn_implementation={plain!r} computes all queries of a batch at once and cannot skip any; use "
            f"{' or '.join(map(repr, SUPPORTED))}"
        )
    return f"{PREFIX}{plain}"


def calls_interface(attention: nn.Module) -> bool:
    """Whether the code of an attention looks up the function that it calls in transformers' table."""
    return any(_in_code(each, TABLE) is not None for each in attention.modules())


def register_attention_functions() -> None:
    """Make the functions known to transformers, as `sma_sdpa` and `sma_eager`."""
    AttentionInterface.register("sma_sdpa", _sdpa)
    AttentionInterface.register("sma_eager", _eager)
    AttentionMaskInterface.register("sma_sdpa", _whole_mask)
    AttentionMaskInterface.register("sma_eager", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def _whole_mask(*args: Any, **kwargs: Any) -> Any:
    """The mask of causal attention as a tensor also where a flag would do: single queries take their rows."""
    return ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](*args, **{**kwargs, "allow_is_causal_skip": False})


def _sdpa(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if attention_mask is None and causal and _attending.get() is not None:
        attention_mask = key.new_ones(query.shape[2], key.shape[2], dtype=torch.bool)
        attention_mask = attention_mask.tril(key.shape[2] - query.shape[2])[None, None]
    function = (_in_code(module, TABLE) or ALL_ATTENTION_FUNCTIONS)["sdpa"]
    return _chosen(function, module, query, key, value, attention_mask, gives_weights=False, **kwargs)


def _eager(module: nn.Module, *tensors: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    function = _in_code(module, EAGER) or getattr(sys.modules[type(module).__module__], EAGER)
    return _chosen(function, module, *tensors, gives_weights=True, **kwargs)


def _in_code(module: nn.Module, ending: str) -> Any:
    """What a global name with this ending stands for in a module's `forward`, or a base's, or None."""
    for base in type(module).__mro__:
        forward: Any = inspect.unwrap(vars(base).get("forward", base))
        for name in getattr(getattr(forward, "__code__", None), "co_names", ()):
            if name.endswith(ending):
                return forward.__globals__.get(name)
    return None


def _chosen(
    function: Callable[..., tuple[Tensor, Tensor | None]],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    gives_weights: bool,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of the chosen queries, 0 at all others.

    Args:
        function: of transformers.
        module: the attention.
        query: `(B, H, L, d)`.
        key: `(B, H', Lk, d)`, those of a cache before those of the call.
        value: `(B, H', Lk, d)`.
        attention_mask: `(B, 1, L, Lk)`, B and L may be 1; None: everything is seen.
        gives_weights: whether the function returns the weights of attention.
        kwargs: of the function.

    Returns:
        `(B, L, H, d)`, and the weights of attention `(B, H, L, Lk)`, 0 at all others, or None.
    """
    call = _attending.get()
    if call is None:
        return function(module, query, key, value, attention_mask, **kwargs)
    call.called = True
    n_rows, n_heads, length, width = query.shape
    if (n_rows, length) != (call.elements.n_rows, call.elements.longest):
        raise ValueError(
            f"{type(module).__name__} attends in {n_rows} rows of {length} tokens, where the model has "
            f"{call.elements.n_rows} of {call.elements.longest}: it divides rows, and no token can skip it; "
            "set parts=('feed_forward',)"
        )
    everything = len(call.elements.index) == n_rows * length
    seen = call.seen
    if seen is None and call.hides and not everything:
        seen = _places(call.elements)
    if everything and seen is None:
        return function(module, query, key, value, attention_mask, **kwargs)
    if not len(call.elements.index):  # every tensor gets a gradient all the same
        nothing = sum(tensor[..., :0].sum() for tensor in (query, key, value))
        weights = value.new_zeros(n_rows, n_heads, length, key.shape[2]) if gives_weights else None
        return value.new_zeros(n_rows, length, n_heads, value.shape[-1]) + nothing, weights
    flat = query.transpose(1, 2).reshape(n_rows * length, n_heads * width)
    queries = call.elements.with_x(flat.index_select(0, call.elements.index))
    padded, filled, place = queries.to_padded()
    query = padded.view(n_rows, -1, n_heads, width).transpose(1, 2)
    mask = _rows(attention_mask, queries, filled, place, seen, key)
    if kwargs.get("position_bias") is not None:
        kwargs["position_bias"] = _rows(kwargs["position_bias"], queries, filled, place, None, key)
    output, weights = function(module, query, key, value, mask, **{**kwargs, "is_causal": False})

    def at_all(y: Tensor) -> Tensor:  # (B, n, H, d) of the queries at the places of all tokens
        return scatter(queries.from_padded(y.flatten(2), place).view(-1, n_heads, y.shape[-1]), queries)

    return at_all(output), None if weights is None else at_all(weights.transpose(1, 2)).transpose(1, 2)


def _rows(
    mask: Tensor | None, queries: Elements, filled: Tensor, place: Tensor, seen: Tensor | None, key: Tensor
) -> Tensor | None:
    """The rows of a mask or a bias at the queries, `(B, 1, n, Lk)`; 0 or True where no query is."""
    if mask is None and seen is None:
        return None
    n_rows, longest = queries.n_rows, int(filled.max()) if queries.n_rows else 0
    if mask is None:  # added to scores, as eager attention takes it
        mask = key.new_zeros(n_rows, 1, longest, key.shape[2])
    elif mask.shape[2] == 1:
        mask = mask.expand(n_rows, -1, longest, -1)
    else:
        position = queries.position.new_zeros(n_rows * longest).index_copy(0, place, queries.position)
        index = position.view(n_rows, 1, longest, 1).expand(-1, mask.shape[1], -1, mask.shape[3])
        mask = mask.expand(n_rows, -1, -1, -1).gather(2, index)
    is_bool = mask.dtype == torch.bool
    if seen is not None:
        unseen = ~seen[:, None, None, :]
        mask = mask & ~unseen if is_bool else mask.masked_fill(unseen, torch.finfo(mask.dtype).min)
    empty = torch.arange(longest, device=filled.device) >= filled[:, None]
    return mask.masked_fill(empty[:, None, :, None], True if is_bool else 0.0)


@contextmanager
def _marking(held: Any, call: Attending) -> Iterator[None]:
    """Inside, a cache holds NaN as the values of tokens that are not seen, and gives 0 for them.

    Values alone go through every operation of a cache (joined, reordered, cropped, slid) as tokens do. The
    marks are there inside the cache only, so that nothing computed, and no gradient, comes from a NaN.
    """
    if any(hasattr(layer, "_quantize") for layer in (*held.layers, held.layer_class_to_replicate)):
        raise ValueError(
            f"{type(held).__name__} quantises values, which would lose what tokens are unseen; generate "
            "with another cache, or sparsify with skipped='seen'"
        )
    update = held.update
    unseen = ~_places(call.elements)[:, None, :, None]

    def marked(key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        keys, values = update(key, value.masked_fill(unseen, math.nan), *args, **kwargs)
        call.seen = ~values[:, 0, :, 0].isnan()
        return keys, values.masked_fill(~call.seen[:, None, :, None], 0)

    held.update = marked
    try:
        yield
    finally:
        del held.update


def _places(elements: Elements) -> Tensor:
    """`(B, L)` bool: which tokens are among N."""
    return scatter(torch.ones_like(elements.index, dtype=torch.bool), elements)


_attending: ContextVar[Attending | None] = ContextVar("attending", default=None)
