"""Attention over the flat list of activated elements, linear in its length in time and memory."""

from torch import Tensor

from sma.elements import Elements
from sma.modules.attention.functions import SOFTMAX, AttentionFunction, AttentionRule
from sma.modules.attention.fused import fused_windows, refusal
from sma.modules.attention.plain import plain_windows
from sma.modules.attention.positions import OffsetBias
from sma.modules.kernels.choice import takes_kernel


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
    if takes_kernel("attention", q.device, lambda: refusal(q, k, v, rule, bias)):
        return fused_windows(q, k, v, elements, rule, bias)
    return plain_windows(q, k, v, elements, rule, bias)


def visible_pairs(n: int, window: int | None, *, bidirectional: bool) -> int:
    """How many pairs of a query and a key that it sees there are in a row of n activated elements.

    Example:
        >>> visible_pairs(4, 1, bidirectional=False), visible_pairs(4, None, bidirectional=True)
        (7, 16)
    """
    reach = max(n - 1, 0) if window is None else min(window, max(n - 1, 0))
    on_one_side = n * reach - reach * (reach + 1) // 2
    return n + on_one_side * (2 if bidirectional else 1)
