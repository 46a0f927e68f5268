"""Windowed attention by Triton kernels: what they take, and how it is handed to them."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sma.elements import Elements
from sma.modules.attention.functions import AttentionRule
from sma.modules.attention.plain import plain_windows, query_divisor
from sma.modules.attention.positions import OffsetBias
from sma.modules.functional import transformed
from sma.modules.kernels.attention_op import FUNCTIONS, fused_attention, fused_attention_backward
from sma.modules.kernels.derivatives import Kernel, run_kernel


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

    dtype = _common_dtype(q, k, v)
    settings = (rule.window, rule.bidirectional, rule.function.name, 1 / divisor, rule.dropout)

    def arguments(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None) -> tuple[Any, ...]:
        heads = [(x if x.dim() == 3 else x.unsqueeze(1)).to(dtype) for x in (q, k, v)]
        return *heads, elements.row, counted, elements.ptr, table, seed, first, *settings

    def forward(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None) -> tuple[Tensor, ...]:
        y, lse, ranges = fused_attention(*arguments(q, k, v, table))
        return y.view(v.shape).to(v.dtype), y, lse, ranges

    def backward(
        grads: tuple[Tensor, ...], returned: tuple[Tensor, ...], tensors: tuple[Any, ...]
    ) -> tuple[Tensor | None, ...]:
        _, *saved = returned
        grad = grads[0].to(dtype).view(saved[0].shape)
        found = fused_attention_backward(grad, *saved, *arguments(*tensors))
        return tuple(
            None if like is None else x.view(like.shape).to(like.dtype)
            for x, like in zip(found, tensors, strict=True)
        )

    def plain(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None) -> tuple[Tensor, ...]:
        if rule.dropout:
            raise ValueError(
                f"second derivatives of fused attention with dropout={rule.dropout} would draw another "
                'dropout; compute inside kernel_backend("plain"), or with dropout=0'
            )
        own = None if bias is None or table is None else replace(bias, values=table)
        return (plain_windows(q, k, v, elements, rule, own),)

    return run_kernel(Kernel(1, forward, backward, plain), q, k, v, table)[0]


def _common_dtype(q: Tensor, k: Tensor, v: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
