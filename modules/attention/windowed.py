"""Attention over the flat list of activated elements, linear in its length in time and memory."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from sma.elements import Elements
from sma.modules.attention.custom_op import compiled_attention
from sma.modules.attention.functions import SOFTMAX, AttentionFunction, AttentionRule
from sma.modules.attention.positions import OffsetBias
from sma.modules.attention.tiled import Lists, tiled_attention
from sma.modules.functional import at_least_float32

_backend = "tiles"  # a plain global, so that torch.compile compiles again when it changes


@contextmanager
def attention_backend(name: str) -> Iterator[None]:
    """Choose what computes `windowed_attention` inside the `with` block.

    Both give the same function. `tiles`, the default, is plain torch: every attention function, dropout and
    dtype, on any device. `flex` is torch's flex_attention, for softmax without dropout: a fused kernel on a
    GPU, where it was never run; without gradients and with all scores in memory on CPU. Choose it for the
    whole process, and compare it with `tiles` first.

    Args:
        name: tiles or flex.

    Raises:
        ValueError: if no backend has that name; and, inside, wherever `flex` does not apply.

    Example:
        >>> from sma import PackedCompaction
        >>> elements = PackedCompaction().compress(torch.randn(1, 9, 4), torch.ones(1, 9, dtype=torch.bool))
        >>> tiles = windowed_attention(*3 * [elements.x], elements, window=2)
        >>> with attention_backend("flex"):
        ...     flex = windowed_attention(*3 * [elements.x], elements, window=2)
        >>> torch.allclose(flex, tiles, atol=1e-6)
        True
    """
    if name not in ("tiles", "flex"):
        raise ValueError(f"unknown attention backend {name!r}; known: tiles, flex")
    global _backend
    outer, _backend = _backend, name
    try:
        yield
    finally:
        _backend = outer


def windowed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    elements: Elements,
    *,
    window: int | None,
    bidirectional: bool = False,
    function: AttentionFunction = SOFTMAX,
    bias: OffsetBias | None = None,
    dropout: float = 0.0,
) -> Tensor:
    r"""Every element attends to the elements of its row that activated shortly before, and after.

    $$ y_t = \sum_{s:\, |r_s - r_t| \le W} f(q_t \cdot k_s / c + b_{s - t})\, v_s $$

    with the rank r of an element among the activated ones of its row, and s not after t in one direction.
    Scores are masked after the activation function: what is not a key has weight exactly 0.

    Time and memory are linear in T * W forward and backward. Without a window time is quadratic in the number
    of activated elements of a row.

    Args:
        q: `(T, d_qk)`, or `(T, H, d_qk)` for H heads.
        k: in the shape of `q`.
        v: `(T, d_v)` or `(T, H, d_v)`.
        elements: the T slots; `elements.x` is not used.
        window: W; None: all elements of the row.
        bidirectional: whether later elements are keys, too.
        function: of the scores; `attention_function(name)`.
        bias: added to the scores, the same for all heads.
        dropout: probability to drop an attention weight.

    Returns:
        In the shape and dtype of `v`; finite in padding slots.
    """
    return attend_windows(q, k, v, elements, AttentionRule(window, bidirectional, function, dropout), bias)


def attend_windows(
    q: Tensor, k: Tensor, v: Tensor, elements: Elements, rule: AttentionRule, bias: OffsetBias | None
) -> Tensor:
    """`windowed_attention` by the rule; arguments and result as there."""
    if _backend == "flex" and len(q):
        from sma.modules.attention.flex import flex_windows  # imports torch's compiler

        return flex_windows(q, k, v, elements, rule, bias)
    n_heads = q.shape[1] if q.dim() == 3 else None
    if n_heads is not None:  # one after another, as so many times the rows
        elements = _repeat_rows(elements, n_heads)
        q, k, v = (z.transpose(0, 1).reshape(-1, z.shape[2]) for z in (q, k, v))
    dtype = at_least_float32(torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype))
    q = q.to(dtype) / query_divisor(elements, q.shape[1], rule)
    seed = torch.randint(2**62, (), device="cpu") if rule.dropout else None
    lists = Lists(elements.row, elements.position, elements.ptr, bias, seed)
    one_operation = torch.compiler.is_compiling() and rule.function.name is not None
    y = (compiled_attention if one_operation else tiled_attention)(q, k, v, lists, rule)
    return y if n_heads is None else y.view(n_heads, len(y) // n_heads, y.shape[1]).transpose(0, 1)


def query_divisor(elements: Elements, d_qk: int, rule: AttentionRule) -> float | Tensor:
    """The divisor of the queries: a number, or `(T, 1)` long where it depends on the element."""
    if rule.function.normalized:
        return math.sqrt(d_qk)
    if rule.window is not None:
        return 2 * rule.window if rule.bidirectional else rule.window
    row = elements.row.clamp(min=0)
    if rule.bidirectional:
        n_keys = elements.counts[row]
    else:
        n_keys = torch.arange(1, len(row) + 1, device=row.device) - elements.ptr[row]
    return n_keys.clamp(min=1).unsqueeze(1)


def visible_pairs(n: int, window: int | None, *, bidirectional: bool) -> int:
    """How many pairs of a query and a key that it sees there are in a row of n activated elements.

    Example:
        >>> visible_pairs(4, 1, bidirectional=False), visible_pairs(4, None, bidirectional=True)
        (7, 16)
    """
    reach = max(n - 1, 0) if window is None else min(window, max(n - 1, 0))
    on_one_side = n * reach - reach * (reach + 1) // 2
    return n + on_one_side * (2 if bidirectional else 1)


def _repeat_rows(elements: Elements, n: int) -> Elements:
    """The list n times, each time with rows of its own."""
    n_slots, n_rows = len(elements.row), elements.n_rows
    copy = torch.arange(n, device=elements.row.device).unsqueeze(1)
    row = torch.where(elements.valid, elements.row + copy * n_rows, -1).flatten()
    ptr = F.pad((elements.ptr[:-1] + copy * n_slots).flatten(), (0, 1), value=n * n_slots)
    return replace(elements, row=row, position=elements.position.repeat(n), ptr=ptr)
