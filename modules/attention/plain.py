"""Windowed attention by plain torch: any function, dtype and device, differentiable to any order."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from sma.elements import Elements
from sma.modules.attention.custom_op import compiled_attention
from sma.modules.attention.functions import AttentionRule
from sma.modules.attention.positions import OffsetBias
from sma.modules.attention.tiled import Lists, tiled_attention
from sma.modules.functional import at_least_float32


def plain_windows(
    q: Tensor, k: Tensor, v: Tensor, elements: Elements, rule: AttentionRule, bias: OffsetBias | None
) -> Tensor:
    """`windowed_attention` by the rule; arguments and result as there."""
    n_heads = q.shape[1] if q.dim() == 3 else None
    if n_heads is not None:  # one after another, as so many times the rows
        elements = _repeat_rows(elements, n_heads)
        q, k, v = (z.transpose(0, 1).reshape(-1, z.shape[2]) for z in (q, k, v))
    dtype = at_least_float32(torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype))
    q = q.to(dtype)
    if rule.divisor(q.shape[1]) is None:  # else tiles divide the scores, at no cost
        q = q / query_divisor(elements, q.shape[1], rule)
    seed = torch.randint(2**62, (), device="cpu") if rule.dropout else None
    lists = Lists(elements.row, elements.position, elements.ptr, bias, seed)
    one_operation = torch.compiler.is_compiling() and rule.function.name is not None
    y = (compiled_attention if one_operation else tiled_attention)(q, k, v, lists, rule)
    return y if n_heads is None else y.view(n_heads, len(y) // n_heads, y.shape[1]).transpose(0, 1)


def query_divisor(elements: Elements, d_qk: int, rule: AttentionRule) -> float | Tensor:
    """The divisor of the queries: a number, or `(T, 1)` long where it depends on the element."""
    divisor = rule.divisor(d_qk)
    if divisor is not None:
        return divisor
    row = elements.row.clamp(min=0)
    if rule.bidirectional:
        n_keys = elements.counts[row]
    else:
        n_keys = torch.arange(1, len(row) + 1, device=row.device) - elements.ptr[row]
    return n_keys.clamp(min=1).unsqueeze(1)


def _repeat_rows(elements: Elements, n: int) -> Elements:
    """The list n times, each time with rows of its own."""
    n_slots, n_rows = len(elements.row), elements.n_rows
    copy = torch.arange(n, device=elements.row.device).unsqueeze(1)
    row = torch.where(elements.valid, elements.row + copy * n_rows, -1).flatten()
    ptr = F.pad((elements.ptr[:-1] + copy * n_slots).flatten(), (0, 1), value=n * n_slots)
    return replace(elements, row=row, position=elements.position.repeat(n), ptr=ptr)
