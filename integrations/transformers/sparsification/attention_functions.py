"""Attention functions of transformers that compute the chosen queries only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sma.elements import Elements
from sma.transformers.sparsification.selection import scatter
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PREFIX = "sma_"
SUPPORTED = ("sdpa", "eager")
"""The attention implementations that take a mask with a row for every query."""


@dataclass(frozen=True)
class Attending:
    """The queries of an attention that runs.

    Attributes:
        elements: the tokens that attend.
        marked: whether a NaN in a value says that its token is not seen.
    """

    elements: Elements
    marked: bool


@contextmanager
def attending(elements: Elements, *, marked: bool) -> Iterator[None]:
    """Inside, the attention functions of this module compute the queries of `elements` only."""
    token = _attending.set(Attending(elements, marked))
    try:
        yield
    finally:
        _attending.reset(token)


def use_sparse_attention(config: Any) -> None:
    """Let a model with this configuration call the functions of this module."""
    name = config._attn_implementation or "eager"
    if not name.startswith(PREFIX):
        config._attn_implementation = f"{PREFIX}{name}"


def register_attention_functions() -> None:
    """Make the functions known to transformers, as `sma_sdpa` and `sma_eager`."""
    AttentionInterface.register("sma_sdpa", _sdpa)
    AttentionInterface.register("sma_eager", _eager)
    AttentionMaskInterface.register("sma_sdpa", _whole_mask)
    AttentionMaskInterface.register("sma_eager", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def _whole_mask(*args: Any, **kwargs: Any) -> Any:
    """The mask of causal attention as a tensor also where a flag would do: single queries take their rows."""
    return ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](*args, **{**kwargs, "allow_is_causal_skip": False})


def _sdpa(module: nn.Module, *tensors: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    return _chosen(ALL_ATTENTION_FUNCTIONS["sdpa"], module, *tensors, **kwargs)


def _eager(module: nn.Module, *tensors: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    function = sys.modules[type(module).__module__].eager_attention_forward
    return _chosen(function, module, *tensors, **kwargs)


def _chosen(
    function: Callable[..., tuple[Tensor, Tensor | None]],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of the chosen queries, 0 at all others.

    Args:
        function: of transformers.
        module: the attention.
        query: `(B, H, L, d)`.
        key: `(B, H', Lk, d)`, those of a cache before those of the call.
        value: `(B, H', Lk, d)`.
        attention_mask: `(B, 1, L, Lk)`; None: everything is seen.
        kwargs: of the function.

    Returns:
        `(B, L, H, d)`, and the weights of attention where all queries are computed, else None.
    """
    chosen = _attending.get()
    if chosen is None:
        return function(module, query, key, value, attention_mask, **kwargs)
    seen = None
    if chosen.marked:
        seen = ~value[:, 0, :, 0].isnan()
        key, value = (torch.where(seen[:, None, :, None], tensor, 0) for tensor in (key, value))
    n_rows, n_heads, length, width = query.shape
    if len(chosen.elements.index) == n_rows * length and seen is None:
        return function(module, query, key, value, attention_mask, **kwargs)
    if not len(chosen.elements.index):  # every tensor gets a gradient all the same
        nothing = sum(tensor[..., :0].sum() for tensor in (query, key, value))
        return value.new_zeros(n_rows, length, n_heads, value.shape[-1]) + nothing, None
    flat = query.transpose(1, 2).reshape(n_rows * length, n_heads * width)
    queries = chosen.elements.with_x(flat.index_select(0, chosen.elements.index))
    padded, filled, place = queries.to_padded()
    query = padded.view(n_rows, -1, n_heads, width).transpose(1, 2)
    mask = _rows(attention_mask, queries, filled, place, seen, key)
    output, _ = function(module, query, key, value, mask, **{**kwargs, "is_causal": False})
    output = queries.from_padded(output.flatten(2), place)
    return scatter(output.view(len(output), n_heads, -1), queries), None


def _rows(
    mask: Tensor | None, queries: Elements, filled: Tensor, place: Tensor, seen: Tensor | None, key: Tensor
) -> Tensor | None:
    """The rows of a mask at the queries, `(B, 1, n, Lk)`; all is seen in places that no query fills."""
    if mask is None and seen is None:
        return None
    n_rows, longest = queries.n_rows, int(filled.max()) if queries.n_rows else 0
    position = queries.position.new_zeros(n_rows * longest).index_copy(0, place, queries.position)
    position = position.view(n_rows, longest)
    empty = torch.arange(longest, device=filled.device) >= filled[:, None]
    if mask is None:
        mask = key.new_ones(n_rows, 1, longest, key.shape[2], dtype=torch.bool)
    else:
        index = position[:, None, :, None].expand(n_rows, mask.shape[1], longest, mask.shape[3])
        mask = mask.expand(n_rows, -1, -1, -1).gather(2, index)
    is_bool = mask.dtype == torch.bool
    if seen is not None:
        unseen = ~seen[:, None, None, :]
        mask = mask & ~unseen if is_bool else mask.masked_fill(unseen, torch.finfo(mask.dtype).min)
    return mask.masked_fill(empty[:, None, :, None], True if is_bool else 0.0)


_attending: ContextVar[Attending | None] = ContextVar("attending", default=None)
