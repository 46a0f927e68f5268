"""Attention over the flat list of activated elements, linear in its length in time and memory."""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from sma.elements import Elements
from sma.modules.attention_functions import SOFTMAX, AttentionFunction
from sma.modules.numerics import at_least_float32
from sma.modules.positions import OffsetBias
from sma.modules.tiled_attention import Plan, row_tiles, tiled_attention, window_tiles


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
    n_heads = q.shape[1] if q.dim() == 3 else None
    if n_heads is not None:  # one after another, as so many times the rows
        elements = _repeat_rows(elements, n_heads)
        q, k, v = (z.transpose(0, 1).reshape(-1, z.shape[2]) for z in (q, k, v))
    dtype = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
    if window is None:
        tiles = row_tiles(elements, bidirectional=bidirectional)
    else:
        tiles = window_tiles(elements, window, bidirectional=bidirectional)
    if bias is not None and not bias.by_rank and _advances_with_rank(elements):
        bias = replace(bias, by_rank=True)  # so that one small table serves all tiles
    reach = len(q) if window is None else window
    plan = Plan(
        tiles=tiles,
        row=elements.row.to(at_least_float32(dtype)),
        position=elements.position.int(),
        back=reach,
        ahead=reach if bidirectional else 0,
        function=function,
        bias=bias,
        dropout=dropout,
        seed=int(torch.randint(2**62, ())) if dropout else 0,
    )
    divisor = query_divisor(elements, q.shape[1], window, bidirectional=bidirectional, function=function)
    y = tiled_attention(q.to(plan.dtype) / divisor, k, v, plan)
    return y if n_heads is None else y.view(n_heads, len(y) // n_heads, y.shape[1]).transpose(0, 1)


def query_divisor(
    elements: Elements, d_qk: int, window: int | None, *, bidirectional: bool, function: AttentionFunction
) -> float | Tensor:
    """What queries are divided by: a number, or `(T, 1)` long where it depends on the element."""
    if function.normalized:
        return math.sqrt(d_qk)
    if window is not None:
        return 2 * window if bidirectional else window
    row = elements.row.clamp(min=0)
    if bidirectional:
        n_keys = torch.zeros_like(elements.ptr).index_add_(0, row, elements.valid.long())[row]
    else:
        n_keys = torch.arange(1, len(row) + 1, device=row.device) - elements.ptr[row]
    return n_keys.clamp(min=1).unsqueeze(1)


def _advances_with_rank(elements: Elements) -> bool:
    """Whether positions and ranks differ by a constant in each row. A device is not asked: it would wait."""
    if elements.row.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    row, position = elements.row, elements.position
    one_on = position[1:] == position[:-1] + 1
    return bool((one_on | (row[1:] != row[:-1]) | (row[1:] < 0)).all())


def _repeat_rows(elements: Elements, n: int) -> Elements:
    """The list n times, each time with rows of its own."""
    n_slots, n_rows = len(elements.row), elements.n_rows
    copy = torch.arange(n, device=elements.row.device).unsqueeze(1)
    row = torch.where(elements.valid, elements.row + copy * n_rows, -1).flatten()
    ptr = F.pad((elements.ptr[:-1] + copy * n_slots).flatten(), (0, 1), value=n * n_slots)
    return replace(elements, row=row, position=elements.position.repeat(n), ptr=ptr)
