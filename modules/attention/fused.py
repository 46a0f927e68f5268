"""Windowed attention by Triton kernels: what they take, and how it is handed to them."""

from dataclasses import replace

import torch
from torch import Tensor

from sma.elements import Elements
from sma.modules.attention.functions import AttentionRule
from sma.modules.attention.plain import plain_windows, query_divisor
from sma.modules.attention.positions import OffsetBias
from sma.modules.functional import transformed
from sma.modules.kernels.attention_op import FUNCTIONS, fused_attention
from sma.modules.kernels.derivatives import twice_differentiable


def refusal(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, bias: OffsetBias | None) -> str | None:
    """Why the kernels do not take this; None: they do."""
    if transformed():
        return "torch.func and forward-mode differentiation take plain operations only"
    if rule.function.name not in FUNCTIONS:
        return f"it knows the functions {', '.join(FUNCTIONS)} only"
    if rule.window is None and not rule.function.normalized:
        return f"without a window {rule.function.name} scales every query differently"
    dtype = _common_dtype(q, k, v)
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"it computes in float32, bfloat16 and float16, not in {dtype}"
    if bias is not None and bias.values.requires_grad and torch.are_deterministic_algorithms_enabled():
        return "it sums the gradient of a bias in any order, and deterministic algorithms are asked for"
    return None


def fused_windows(
    q: Tensor, k: Tensor, v: Tensor, elements: Elements, rule: AttentionRule, bias: OffsetBias | None
) -> Tensor:
    """`windowed_attention` where `refusal` has no reason not to; arguments and result as there."""
    seed = torch.randint(2**62, (), device="cpu") if rule.dropout else None
    counted, first, table = elements.position, 0, None
    if bias is not None:
        first, table = bias.first, bias.values
        if bias.by_rank:  # slots of a row differ by as much as the ranks of their elements
            counted = torch.arange(len(q), device=q.device)
    divisor = query_divisor(elements, q.shape[-1], rule)
    assert not isinstance(divisor, Tensor)  # `refusal` says no to it

    def fused(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None) -> tuple[Tensor, ...]:
        dtype = _common_dtype(q, k, v)
        heads = [(x if x.dim() == 3 else x.unsqueeze(1)).to(dtype) for x in (q, k, v)]
        lists = (elements.row, counted, elements.ptr, table, seed)
        settings = (rule.window, rule.bidirectional, rule.function.name, 1 / divisor, rule.dropout)
        return (fused_attention(*heads, *lists, first, *settings)[0].view(v.shape).to(v.dtype),)

    def plain(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None) -> tuple[Tensor, ...]:
        if rule.dropout:
            raise ValueError(
                f"second derivatives of fused attention with dropout={rule.dropout} would draw another "
                'dropout; compute inside kernel_backend("plain"), or with dropout=0'
            )
        own = None if bias is None or table is None else replace(bias, values=table)
        return (plain_windows(q, k, v, elements, rule, own),)

    return twice_differentiable(fused, plain, q, k, v, table)[0]


def _common_dtype(q: Tensor, k: Tensor, v: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
