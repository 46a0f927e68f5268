"""Windowed attention by Triton kernels: what they take, and how they are differentiated."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from sma.elements import Elements
from sma.modules.attention.functions import AttentionRule
from sma.modules.attention.plain import plain_windows, query_divisor
from sma.modules.attention.positions import OffsetBias
from sma.modules.functional import transformed
from sma.modules.kernels.attention_op import FUNCTIONS, fused_attention, fused_attention_backward


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
    table = None if bias is None else bias.values
    if not torch.compiler.is_compiling():
        y: Tensor = _FusedAttention.apply(q, k, v, table, seed, elements, rule, bias)  # type: ignore[no-untyped-call]
        return y
    heads, fields = _arguments(q, k, v, table, seed, elements, rule, bias)
    return fused_attention(*heads, *fields)[0].view(v.shape).to(v.dtype)


class _FusedAttention(torch.autograd.Function):
    """Saves the inputs and the sums of softmax; the kernels compute the weights again."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        table: Tensor | None,
        seed: Tensor | None,
        elements: Elements,
        rule: AttentionRule,
        bias: OffsetBias | None,
    ) -> Tensor:
        """Attend."""
        heads, fields = _arguments(q, k, v, table, seed, elements, rule, bias)
        results = fused_attention(*heads, *fields)
        ctx.save_for_backward(q, k, v, table, *results)
        bias = None if bias is None else replace(bias, values=q.new_empty(0))  # the table is saved
        ctx.rest = seed, replace(elements, x=q.new_empty(0)), rule, bias
        return results[0].view(v.shape).to(v.dtype)

    @staticmethod
    @override
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients; where they shall be differentiated again, those of `plain_windows`."""
        q, k, v, table, *results = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed() or torch._C._functorch.is_legacy_batchedtensor(grad):
            return *_plain_gradients(grad, q, k, v, table, *ctx.rest), *[None] * 4
        heads, fields = _arguments(q, k, v, table, *ctx.rest)
        grad = grad.to(heads[2].dtype).view(heads[2].shape)
        *grads, grad_table = fused_attention_backward(grad, *results, *heads, *fields)
        grads = [x.view(like.shape).to(like.dtype) for x, like in zip(grads, (q, k, v), strict=True)]
        return *grads, None if table is None else grad_table.to(table.dtype), *[None] * 4


def _arguments(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: Tensor | None,
    seed: Tensor | None,
    elements: Elements,
    rule: AttentionRule,
    bias: OffsetBias | None,
) -> tuple[list[Tensor], tuple[Any, ...]]:
    """The arguments of the operation: q, k and v with heads and of one dtype, and the others."""
    dtype = _common_dtype(q, k, v)
    heads = [(x if x.dim() == 3 else x.unsqueeze(1)).to(dtype) for x in (q, k, v)]
    counted, first = elements.position, 0
    if bias is not None:
        first = bias.first
        if bias.by_rank:  # slots of a row differ by as much as the ranks of their elements
            counted = torch.arange(len(q), device=q.device)
    divisor = query_divisor(elements, q.shape[-1], rule)
    assert not isinstance(divisor, Tensor)  # `refusal` says no to it
    lists = (elements.row, counted, elements.ptr, table, seed)
    settings = (rule.window, rule.bidirectional, rule.function.name, 1 / divisor, rule.dropout)
    return heads, (*lists, first, *settings)


def _plain_gradients(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: Tensor | None,
    seed: Tensor | None,
    elements: Elements,
    rule: AttentionRule,
    bias: OffsetBias | None,
) -> list[Tensor | None]:
    """The gradients of q, k, v and the bias table, each by itself: one may have been made from another."""
    if rule.dropout:
        raise ValueError(
            f"second derivatives of fused attention with dropout={rule.dropout} would draw another dropout; "
            'compute inside kernel_backend("plain"), or with dropout=0'
        )
    with torch.enable_grad():
        own = [None if x is None else x.view_as(x) for x in (q, k, v, table)]
        q, k, v = (x for x in own[:3] if x is not None)
        bias = None if bias is None or own[3] is None else replace(bias, values=own[3])
        taken = [x for x in own if x is not None and x.requires_grad]
        y = plain_windows(q, k, v, elements, rule, bias)
        grads = iter(torch.autograd.grad(y, taken, grad, create_graph=True, materialize_grads=True))
    return [next(grads) if x is not None and x.requires_grad else None for x in own]


def _common_dtype(q: Tensor, k: Tensor, v: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
